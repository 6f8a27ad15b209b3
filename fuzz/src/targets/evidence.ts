import { KallioError, sha256, toHex, utf8 } from '@kallio/codec';
import {
  commandLines,
  decodeEvent,
  decodeImaEntry,
  decodeNote,
  eventDataIsMeasured,
  imaStart,
  parseEventLog,
  parseMeasureLog,
  readImaLog,
  readImaText,
  replayEventLog,
  replayIma,
  replayMeasureLog,
  secureBootState,
} from '@kallio/evidence';
import type { Target } from '../target.ts';
import { fixture } from './fixtures.ts';

/** A firmware's event log, with all that can be asked of one. */
export function eventLog(): Target {
  return {
    seeds: ['debian12-qemu/bios.bin', 'lab-plain/eventlog.bin', 'lab-verity/eventlog.bin'].map(fixture),
    take(input) {
      const log = parseEventLog(input);
      for (const bank of log.banks) {
        replayEventLog(log, bank);
        refusable(() => secureBootState(log, bank));
        refusable(() => commandLines(log, bank));
        for (const event of log.events) {
          eventDataIsMeasured(event, bank);
          refusable(() => decodeEvent(event, bank));
        }
      }
      for (const note of log.notes) refusable(() => decodeNote(note));
    },
  };
}

/** Of many parts, each is taken or refused by itself. */
function refusable(take: () => unknown): void {
  try {
    take();
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
  }
}

/** The kernel's list, as it is in a TPM's event. */
export function imaBinary(): Target {
  return {
    seeds: ['debian12-qemu/q1.ima.bin', 'lab-plain/ima.bin']
      .map((file) => fixture(file).slice(0, 20_000))
      .map(whole),
    take: (input) => use(readImaLog(input)),
  };
}

/** The same as text. */
export function imaText(): Target {
  return {
    seeds: [fixture('debian12-qemu/q1.ima.txt')],
    take: (input) => use(readImaText(Buffer.from(input).toString())),
  };
}

function use(entries: Iterable<Parameters<typeof decodeImaEntry>[0]>): void {
  const list = [...entries];
  for (const entry of list) refusable(() => decodeImaEntry(entry));
  replayIma(imaStart('sha256'), list, 'sha256');
}

/** The entries that are whole. */
function whole(bytes: Uint8Array): Uint8Array {
  for (let length = bytes.length; length > 0; length--) {
    try {
      const entries = [...readImaLog(bytes.slice(0, length))];
      if (entries.length > 0) return bytes.slice(0, length);
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
    }
  }
  return bytes;
}

/** systemd's list of what user space measured. */
export function measureLog(): Target {
  const record = {
    pcr: 11,
    digests: [{ hashAlg: 'sha256', digest: toHex(sha256(utf8('enter-initrd'))) }],
    content_type: 'systemd',
    content: { string: 'enter-initrd', bootId: 'a'.repeat(32), timestamp: 1, eventType: 'phase' },
  };
  const lines = [record, { ...record, pcr: undefined, nv_index: 0x0100_0001 }];
  const seed = lines.map((line) => `\u001e${JSON.stringify(line)}\n`).join('');
  return {
    seeds: [utf8(seed)],
    take: (input) => replayMeasureLog(parseMeasureLog(input), 'sha256'),
  };
}
