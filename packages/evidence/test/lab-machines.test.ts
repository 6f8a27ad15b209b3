import { toHex } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { decodeImaEntry, parseEventLog, readImaLog, replayEventLog } from '../src/index.ts';
import { fixture } from './support/captured.ts';
import { entryOffsets, pcr10 } from './support/ima.ts';

/** Machines of the lab (`lab/`), captured while they ran a trust agent; how is said beside each. */
const MACHINES = ['lab-plain', 'lab-verity'] as const;

describe.each(MACHINES)('the evidence of %s', (machine) => {
  const pcrs = JSON.parse(new TextDecoder().decode(fixture(`${machine}/pcrs.json`))) as Record<
    string,
    string
  >;
  const ima = fixture(`${machine}/ima.bin`);
  const eventLog = fixture(`${machine}/eventlog.bin`);

  test('has a firmware event log that leads to PCRs 0 to 7 and 9', () => {
    const replayed = replayEventLog(parseEventLog(eventLog), 'sha256');
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 7, 9]) {
      expect([pcr, toHex(replayed.get(pcr) ?? new Uint8Array())]).toEqual([pcr, pcrs[pcr]]);
    }
  });

  test('has an IMA log that leads to PCR 10, and without its last entry does not', () => {
    expect(pcr10(ima)).toBe(pcrs[10]);
    expect(pcr10(ima.subarray(0, entryOffsets(ima).at(-2)))).not.toBe(pcrs[10]);
  });

  test('shows that IMA watched from the initrd on, and what of Kallio was read', () => {
    const names = [...readImaLog(ima)].map((entry) => decodeImaEntry(entry).name);
    expect(names.slice(0, 2)).toEqual(['boot_aggregate', '/bin/busybox']);
    expect(names).toContain('/usr/local/bin/node');
    expect(names).toContain('/opt/kallio/lib/main.js');
  });
});
