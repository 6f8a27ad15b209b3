import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { parseEventLog, replayEventLog } from '../src/index.ts';
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
