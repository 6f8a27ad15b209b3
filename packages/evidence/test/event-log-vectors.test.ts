import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import {
  commandLines,
  decodeEvent,
  decodeNote,
  eventTypeName,
  parseEventLog,
  replayEventLog,
  secureBootState,
} from '../src/index.ts';
import { at } from './support/bytes.ts';
import { captured } from './support/captured.ts';
import { code } from './support/refusal.ts';

// Logs of five machines that nobody here owns, and another implementation's replay of them.

const folder = join(import.meta.dirname, '../../../../shared/vectors/eventlogs');
const names = existsSync(folder) ? readdirSync(folder).sort() : [];
const tool = spawnSync('tpm2_eventlog', ['--version']).error === undefined;

function load(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(folder, name)));
}

/** Every PCR of every bank, as text. */
function replayOf(log: Uint8Array): string[] {
  const parsed = parseEventLog(log);
  return parsed.banks.flatMap((bank) =>
    [...replayEventLog(parsed, bank)]
      .sort(([a], [b]) => a - b)
      .map(([pcr, value]) => `${bank} ${pcr} ${toHex(value)}`),
  );
}

/** The same by tpm2-tools: `pcrs:` ends what it prints, a bank a heading. */
function replayByTool(path: string): string[] {
  const printed = execFileSync('tpm2_eventlog', [path], { encoding: 'utf8', stdio: 'pipe' });
  const list: string[] = [];
  let bank = '';
  for (const line of printed.slice(printed.lastIndexOf('\npcrs:')).split('\n')) {
    const [, heading] = /^ {2}(\w+):$/.exec(line) ?? [];
    const [, pcr, value] = /^ {4}(\d+) *: 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (heading !== undefined) bank = heading;
    else if (pcr !== undefined) list.push(`${bank} ${pcr} ${value}`);
  }
  return list;
}

describe.skipIf(names.length === 0)(
  'firmware event logs that others wrote (skipped where ../shared/vectors is absent)',
  () => {
    test.each([
      ['arch-linux-workstation.bin', ['sha1', 'sha256'], 24],
      ['cos-101-amd-sev.bin', ['sha1', 'sha256', 'sha384'], 48],
      ['debian-10.bin', ['sha1'], 25],
      ['rhel8-uefi.bin', ['sha1', 'sha256', 'sha384'], 82],
      ['ubuntu-2104-no-secure-boot.bin', ['sha1', 'sha256', 'sha384'], 105],
    ])('%s is read', (name, banks, count) => {
      const log = parseEventLog(load(name));
      expect(log.banks).toEqual(banks);
      expect(log.events).toHaveLength(count);
      // A PCR that holds the separator alone is the same everywhere.
      expect(toHex(replayEventLog(log, 'sha1').get(6) ?? new Uint8Array())).toBe(
        'b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236',
      );
    });

    test.each([
      ['arch-linux-workstation.bin', { all: 19, part: 1, none: 4 }, []],
      ['cos-101-amd-sev.bin', { all: 22, part: 18, none: 8 }, ['EV_NONHOST_INFO']],
      ['debian-10.bin', { all: 18, part: 4, none: 3 }, ['EV_NONHOST_INFO']],
      ['rhel8-uefi.bin', { all: 21, part: 54, none: 7 }, ['EV_NONHOST_INFO']],
      ['ubuntu-2104-no-secure-boot.bin', { all: 20, part: 72, none: 13 }, ['EV_NONHOST_INFO']],
    ])('each event of %s is decoded, or is of a type that is named', (name, proofs, unknown) => {
      const log = parseEventLog(load(name));
      for (const bank of log.banks) {
        const decoded = log.events.map((event) => ({ event, ...decodeEvent(event, bank) }));
        const count = Object.groupBy(decoded, ({ proof }) => proof);
        const named = decoded.filter(
          (one) => (one.proof === 'all' ? one.measured : one.described).kind === 'unknown',
        );
        expect({ all: count.all?.length, part: count.part?.length, none: count.none?.length }).toEqual(
          proofs,
        );
        expect(named.map(({ event }) => eventTypeName(event.unauthenticated.type))).toEqual(unknown);
      }
      expect(log.notes.map(decodeNote)).toHaveLength(log.format === 'sha1' ? 0 : 1);
    });

    test.each([
      // This firmware measures the variable SecureBoot without its value.
      ['arch-linux-workstation.bin', undefined, [3], 12, 77],
      ['cos-101-amd-sev.bin', true, [], 1, 4],
      ['debian-10.bin', true, [], 2, 186],
      ['rhel8-uefi.bin', true, [], 2, 186],
      ['ubuntu-2104-no-secure-boot.bin', false, [], 2, 186],
    ])('%s shows secure boot as it was', (name, enabled, unexplained, keys, forbidden) => {
      const log = parseEventLog(load(name));
      for (const bank of log.banks) {
        const state = secureBootState(log, bank);
        const size = (database: string) =>
          (state.databases.get(database) ?? []).reduce((sum, { signatures }) => sum + signatures.length, 0);
        expect(state.enabled).toBe(enabled);
        expect(state.unexplained).toEqual(unexplained);
        expect([size('PK'), size('db'), size('dbx')]).toEqual([1, keys, forbidden]);
      }
    });

    test.each([
      ['arch-linux-workstation.bin', 'systemd', /^initrd=.*l1tf=off$/],
      ['cos-101-amd-sev.bin', 'grub', /^\/syslinux\/vmlinuz.A init=/],
      ['rhel8-uefi.bin', 'grub', /^\(hd0,gpt2\)\/boot\/vmlinuz-4.18.0.* root=UUID=/],
      ['ubuntu-2104-no-secure-boot.bin', 'grub', /^\/boot\/vmlinuz-5.11.0-1006-gcp .* panic=-1$/],
    ])('%s shows the kernel’s command line', (name, by, text) => {
      const log = parseEventLog(load(name));
      for (const bank of log.banks)
        expect(commandLines(log, bank)).toEqual([
          expect.objectContaining({ by, text: expect.stringMatching(text) }),
        ]);
    });

    test.each(names)('%s is refused when its last event is cut short', (name) => {
      // Stops a reader from making up what is not there.
      const log = load(name);
      parseEventLog(log);
      expect(() => parseEventLog(log.subarray(0, -1))).toThrow(code('EVENTLOG_MALFORMED'));
    });

    test.skipIf(!tool).each(names)(
      '%s leads to the PCRs that tpm2_eventlog says (skipped without tpm2-tools)',
      (name) => {
        const ours = replayOf(load(name));
        expect(ours.length).toBeGreaterThan(7);
        expect(ours).toEqual(replayByTool(join(folder, name)));
      },
    );
  },
);

test.skipIf(!tool)(
  'the captured log leads to the PCRs that tpm2_eventlog says (skipped without tpm2-tools)',
  () => {
    const ours = replayOf(captured('bios.bin'));
    expect(at(ours, 0)).toMatch(/^sha256 0 /);
    expect(ours).toEqual(replayByTool(join(import.meta.dirname, 'fixtures/debian12-qemu/bios.bin')));
  },
);
