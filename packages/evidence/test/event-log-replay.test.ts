import { concat, toHex } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import {
  type EventLog,
  eventDataIsMeasured,
  eventTypeName,
  type FirmwareEvent,
  parseEventLog,
  replayEventLog,
} from '../src/index.ts';
import { at, flip, u32le } from './support/bytes.ts';
import { captured, pcrsOf, pcrValue } from './support/captured.ts';
import { EV_NO_ACTION, type Slice, slices } from './support/event-log.ts';
import { code, outcome } from './support/refusal.ts';

// The firmware event log of a real boot, and what an attacker who can write the log, but not the PCRs, can do to it.

const bios = captured('bios.bin');
const quoted = pcrsOf('debian12-qemu/q1', 15);
const all = slices(bios);
const events = all.slice(1);

/** PCR values that a log leads to, in hexadecimal. */
function replayed(log: Uint8Array): Record<string, string> {
  return valuesOf(parseEventLog(log));
}

function valuesOf(log: EventLog): Record<string, string> {
  return Object.fromEntries([...replayEventLog(log, 'sha256')].map(([pcr, value]) => [pcr, toHex(value)]));
}

/** PCRs that two replays differ in. */
function differing(a: Record<string, string>, b: Record<string, string>): number[] {
  const pcrs = new Set([...Object.keys(a), ...Object.keys(b)].map(Number));
  return [...pcrs].filter((pcr) => a[pcr] !== b[pcr]).sort((x, y) => x - y);
}

function bytesOf({ start, end }: Slice): Uint8Array {
  return bios.subarray(start, end);
}

function logOf(parts: readonly Slice[]): Uint8Array {
  return concat(...parts.map(bytesOf));
}

function digestHex({ digest }: Slice): string {
  return toHex(bios.subarray(digest, digest + 32));
}

const honest = replayed(bios);

describe('the event log of a real boot', () => {
  test('leads to the quoted PCRs, and says nothing of those it does not extend', () => {
    expect(Object.keys(honest).map(Number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 9]);
    for (const [pcr, value] of Object.entries(honest)) expect(value).toBe(pcrValue(quoted, Number(pcr)));
    // The same firmware, later in the same boot.
    const later = pcrsOf('debian12-qemu/q3', 15);
    for (const [pcr, value] of Object.entries(honest)) expect(value).toBe(pcrValue(later, Number(pcr)));
    expect(pcrValue(quoted, 8)).toBe('00'.repeat(32));
  });

  test('is SHA-256 only, has 24 events that were extended, and names its types', () => {
    const log = parseEventLog(bios);
    expect(log).toMatchObject({ format: 'crypto-agile', banks: ['sha256'], startupLocality: 0 });
    expect(log.events.map(({ index }) => index)).toEqual(events.map((_, i) => i + 1));
    expect(log.events.slice(0, 3).map(({ unauthenticated }) => eventTypeName(unauthenticated.type))).toEqual([
      'EV_S_CRTM_VERSION',
      'EV_EFI_PLATFORM_FIRMWARE_BLOB',
      'EV_EFI_PLATFORM_FIRMWARE_BLOB',
    ]);
    expect(eventTypeName(0x1234)).toBe('0x00001234');
    expect(() => replayEventLog(log, 'sha384')).toThrow(code('EVENTLOG_BANK'));
  });

  test('fails the replay of one PCR with any bit of any digest turned', () => {
    // Stops a measurement from being replaced by that of good firmware.
    for (const { digest, pcr } of events) {
      for (let bit = digest * 8; bit < (digest + 32) * 8; bit++) {
        const found = differing(replayed(flip(bios, bit)), honest);
        if (found.length !== 1 || found[0] !== pcr) expect.fail(`bit ${bit} of PCR ${pcr}: ${found}`);
      }
    }
  });

  test('with any one bit turned is refused, or fails the replay, or proves the same as before', () => {
    // Stops a bit nobody thought of: whatever is neither refused nor noticed must be outside what is authenticated.
    const before = authenticatedOf(parseEventLog(bios));
    const verdicts = { refused: 0, fails: 0, same: 0 };
    for (let bit = 0; bit < bios.length * 8; bit++) {
      const result = outcome(() => parseEventLog(flip(bios, bit)));
      if ('code' in result || !result.value.banks.includes('sha256')) verdicts.refused++;
      else if (differing(valuesOf(result.value), honest).length > 0) verdicts.fails++;
      else if (authenticatedOf(result.value) === before) verdicts.same++;
      else expect.fail(`bit ${bit} changes what is believed`);
    }
    for (const count of Object.values(verdicts)) expect(count).toBeGreaterThan(1000);
  });

  test('fails the replay with any event left out', () => {
    // Stops a log that hides what was started: the driver, the boot option, the kernel's command line.
    for (const [i, { pcr }] of events.entries()) {
      const log = logOf([...all.slice(0, i + 1), ...all.slice(i + 2)]);
      expect(differing(replayed(log), honest)).toEqual([pcr]);
    }
  });

  test('fails the replay with any event doubled, or one more at any place', () => {
    // Stops a log that is stretched by measurements that nobody made.
    for (const [i, event] of events.entries()) {
      const log = logOf([...all.slice(0, i + 2), event, ...all.slice(i + 2)]);
      expect(differing(replayed(log), honest)).toEqual([event.pcr]);
    }
    for (const i of all.keys()) {
      const foreign = at(events, 4);
      const log = logOf([...all.slice(0, i + 1), foreign, ...all.slice(i + 1)]);
      expect(differing(replayed(log), honest)).toEqual([foreign.pcr]);
    }
  });

  test('fails the replay with two events of a PCR exchanged, unless they are the same measurement', () => {
    // Stops a log that puts a setting before the code that set it. The order between PCRs is nothing a PCR can show.
    let exchanged = 0;
    for (const [i, a] of events.entries()) {
      for (const [j, b] of events.entries()) {
        if (i >= j) continue;
        const swapped = events.with(i, b).with(j, a);
        const found = differing(replayed(logOf([at(all, 0), ...swapped])), honest);
        const expected = expectedDifference(events, swapped);
        expect(found, `events ${i + 1} and ${j + 1}`).toEqual(expected);
        if (a.pcr === b.pcr && digestHex(a) !== digestHex(b)) {
          expect(found).toEqual([a.pcr]);
          exchanged++;
        }
      }
    }
    expect(exchanged).toBeGreaterThan(20);
  });

  test('fails the replay with an event moved to another PCR', () => {
    // Stops a measurement of PCR 4 from being hidden in one that nobody judges.
    for (const { start, pcr } of events) {
      const log = bios.slice();
      log.set(u32le(11), start);
      expect(differing(replayed(log), honest)).toEqual([pcr, 11]);
      log.set(u32le(24), start);
      const result = outcome(() => parseEventLog(log));
      expect(result).toEqual({ code: 'EVENTLOG_MALFORMED' });
    }
  });

  test('fails the replay with an event declared to be no action', () => {
    // Stops a measurement from being taken out of the replay by its type, which nothing authenticates.
    for (const { start, pcr } of events) {
      const log = bios.slice();
      log.set(u32le(EV_NO_ACTION), start + 4);
      expect(differing(replayed(log), honest)).toEqual([pcr]);
    }
  });

  test('cut between events fails the replay; cut anywhere else it is refused, with the event’s number', () => {
    // Stops a log that ends before what the attacker started.
    const ends = new Map(all.map(({ end }, i) => [end, i]));
    for (let length = 1; length < bios.length; length++) {
      const cut = bios.subarray(0, length);
      const last = ends.get(length);
      if (last === undefined) {
        const inside = all.findIndex(({ end }) => length < end);
        expect(() => parseEventLog(cut)).toThrow(code('EVENTLOG_MALFORMED', `event:${inside}`));
      } else {
        const missing = new Set(all.slice(last + 1).map(({ pcr }) => pcr));
        expect(differing(replayed(cut), honest)).toEqual([...missing].sort((a, b) => a - b));
      }
    }
    // An empty log is no log of the bank that is judged.
    expect(() => replayed(bios.subarray(0, 0))).toThrow(code('EVENTLOG_BANK'));
  });

  test('is refused with bytes after its end', () => {
    // Stops data that travels under the digest of the log and that another reader might read as an event.
    replayed(bios);
    const pointer = `event:${all.length}`;
    for (const tail of [1, 4, 8, 11])
      expect(() => parseEventLog(concat(bios, new Uint8Array(tail)))).toThrow(
        code('EVENTLOG_MALFORMED', pointer),
      );
    // Zeros as far as the number of digests: an event of no digest at all.
    for (const tail of [12, 16, 4096])
      expect(() => parseEventLog(concat(bios, new Uint8Array(tail)))).toThrow(
        code('EVENTLOG_ALGORITHM', pointer),
      );
  });

  test('proves an event’s data only where the data is what was hashed', () => {
    // Stops a lie about what a digest is of: the data of an image's event only describes it.
    const measured = (event: FirmwareEvent) => eventDataIsMeasured(event, 'sha256');
    const log = parseEventLog(bios);
    expect(log.events.filter(measured).map(({ index }) => index)).toEqual([
      1, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18, 19, 20, 23, 24,
    ]);
    for (const event of log.events.filter(measured)) {
      const { data } = at(all, event.index);
      for (let bit = data * 8; bit < at(all, event.index).end * 8; bit++) {
        const forged = parseEventLog(flip(bios, bit));
        // The replay can't see it, so the event itself must.
        if (measured(at(forged.events, event.index - 1))) expect.fail(`bit ${bit} is believed`);
      }
    }
  });

  test('keeps its PCRs under another type, which is why a type proves nothing', () => {
    // Documents the limit: whoever judges by type alone is fooled. EV_S_CRTM_VERSION becomes EV_EFI_ACTION here.
    const log = bios.slice();
    log.set(u32le(0x8000_0007), at(events, 0).start + 4);
    expect(differing(replayed(log), honest)).toEqual([]);
    expect(eventTypeName(at(parseEventLog(log).events, 0).unauthenticated.type)).toBe('EV_EFI_ACTION');
  });
});

/** What a replay to the quoted PCRs proves of a log, as text. */
function authenticatedOf(log: EventLog): string {
  const list = log.events.map(({ authenticated: { pcr, digests } }) => {
    const sha256 = digests.get('sha256');
    return `${pcr} ${sha256 === undefined ? '' : toHex(sha256)}`;
  });
  return `${log.startupLocality}\n${list.join('\n')}`;
}

/** PCRs whose digests stand in another order in `b` than in `a`. */
function expectedDifference(a: readonly Slice[], b: readonly Slice[]): number[] {
  const orderIn = (list: readonly Slice[], pcr: number) =>
    list
      .filter((event) => event.pcr === pcr)
      .map(digestHex)
      .join();
  return [...new Set(a.map(({ pcr }) => pcr))]
    .filter((pcr) => orderIn(a, pcr) !== orderIn(b, pcr))
    .sort((x, y) => x - y);
}
