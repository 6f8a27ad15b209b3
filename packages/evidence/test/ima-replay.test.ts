import { concat, fromHex, sha256, toHex } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { decodeImaEntry, imaStart, readImaLog, replayIma } from '../src/index.ts';
import { at, flip } from './support/bytes.ts';
import { captured, pcrsOf, pcrValue } from './support/captured.ts';
import { entryOffsets, pcr10, said, written } from './support/ima.ts';
import { code, outcome } from './support/refusal.ts';

// The IMA log of a real boot, and what an attacker who can write the log, but not PCR 10, can do to it.

const q1 = captured('q1.ima.bin');
const q3 = captured('q3.ima.bin');
const quoted = { q1: pcrsOf('debian12-qemu/q1', 15), q3: pcrsOf('debian12-qemu/q3', 15) };

describe('the IMA log of a real boot', () => {
  const offsets = entryOffsets(q1);
  const honest = pcr10(q1);
  const entries = offsets.slice(0, -1).map((start, i) => q1.subarray(start, offsets[i + 1]));

  test('leads to the quoted PCR 10, after the boot and after a container ran', () => {
    expect(honest).toBe(pcrValue(quoted.q1, 10));
    expect(pcr10(q3)).toBe(pcrValue(quoted.q3, 10));
  });

  test('begins with the digest of PCRs 0 to 9 as they were quoted', () => {
    // Stops a log of another boot, or of other firmware, from being shown: the first entry ties it to this one.
    const [entry] = readImaLog(q1);
    const aggregate = sha256(
      ...Array.from({ length: 10 }, (_, pcr) => fromHex(pcrValue(quoted.q1, pcr), 32)),
    );
    expect(entry === undefined ? undefined : written(decodeImaEntry(entry))).toEqual({
      name: 'boot_aggregate',
      digest: { algorithm: 'sha256', bytes: aggregate, type: 'ima' },
      fields: new Map(),
    });
  });

  test('names the container’s shell by its path in the container', () => {
    const last = decodeImaEntry(at([...readImaLog(q3)], -1));
    expect(last.name).toBe('/bin/sh');
    expect(last.digest.algorithm).toBe('sha256');
  });

  test('goes on from where an earlier replay ended, with its numbers', () => {
    const first = replayIma(imaStart('sha256'), readImaLog(q1), 'sha256');
    expect(first.entries).toBe(offsets.length - 1);
    // Only the new entries travel.
    expect(q3.subarray(0, q1.length)).toEqual(q1);
    const rest = [...readImaLog(q3.subarray(q1.length), { from: first.entries })];
    expect(at(rest, 0).index).toBe(first.entries);
    const second = replayIma(first, rest, 'sha256');
    expect(second.entries).toBe(entryOffsets(q3).length - 1);
    expect(toHex(second.pcr)).toBe(pcrValue(quoted.q3, 10));
    // Stops entries from being skipped between two shows: from anywhere else the same entries lead elsewhere.
    for (const skipped of [1, 2, rest.length]) {
      expect(toHex(replayIma(first, rest.slice(skipped), 'sha256').pcr)).not.toBe(pcrValue(quoted.q3, 10));
    }
    expect(toHex(replayIma(imaStart('sha256'), rest, 'sha256').pcr)).not.toBe(pcrValue(quoted.q3, 10));
  });

  test('replays to one value wherever it is divided', () => {
    for (const [entries, offset] of offsets.entries()) {
      const first = replayIma(imaStart('sha256'), readImaLog(q1.subarray(0, offset)), 'sha256');
      expect(first.entries).toBe(entries);
      const rest = readImaLog(q1.subarray(offset), { from: entries });
      expect(toHex(replayIma(first, rest, 'sha256').pcr)).toBe(honest);
    }
  });

  test('with any one bit turned is refused, or fails the replay, or says the same as before', {
    timeout: 60_000,
  }, () => {
    // Stops a digest or a path from being exchanged for that of a known file. The SHA-1 template digests are not
    // believed (a SHA-1 collision would forge them), so a bit of those changes nothing.
    const [before, value] = [said(q1), pcr10(q1)];
    const verdicts = { refused: 0, fails: 0, same: 0 };
    for (let bit = 0; bit < q1.length * 8; bit++) {
      const changed = flip(q1, bit);
      const result = outcome(() => pcr10(changed));
      if ('code' in result) {
        if (!result.code.startsWith('IMA_')) expect.fail(`bit ${bit}: ${result.code}`);
        verdicts.refused++;
      } else if (result.value !== value) verdicts.fails++;
      else if (said(changed) === before) verdicts.same++;
      else expect.fail(`bit ${bit} changes what is believed`);
    }
    // Each entry: 20 bytes of SHA-1 that say nothing, and its whole data that can't be changed unnoticed.
    expect(verdicts.same).toBe(entries.length * 160);
    expect(verdicts.fails).toBeGreaterThan(entries.length * 8 * 32);
    expect(verdicts.refused).toBeGreaterThan(entries.length * 8 * 8);
  });

  test('fails the replay with any entry left out, doubled or moved', () => {
    // Stops a program that ran from being left out of the list.
    for (const [i, entry] of entries.entries()) {
      expect(pcr10(concat(...entries.toSpliced(i, 1)))).not.toBe(honest);
      expect(pcr10(concat(...entries.toSpliced(i, 0, entry)))).not.toBe(honest);
      const next = entries[i + 1];
      if (next !== undefined) expect(pcr10(concat(...entries.toSpliced(i, 2, next, entry)))).not.toBe(honest);
    }
    expect(pcr10(concat(...entries))).toBe(honest);
  });

  test('cut between entries fails the replay; cut anywhere else it is refused, with the entry’s number', () => {
    // Stops the last programs that ran from being cut off.
    const whole = new Map(offsets.map((offset, i) => [offset, i]));
    for (let length = 0; length < q1.length; length++) {
      const cut = q1.subarray(0, length);
      if (whole.has(length)) {
        expect(pcr10(cut)).not.toBe(honest);
      } else {
        const inside = offsets.findIndex((offset) => length < offset) - 1;
        expect(() => pcr10(cut)).toThrow(code('IMA_MALFORMED', `ima:${inside}`));
      }
    }
  });

  test('fails the replay with an entry made a violation, whose content nobody vouches for', () => {
    // Stops an entry from being turned into one that may say anything.
    const zeroed = q1.slice();
    zeroed.fill(0, at(offsets, 5) + 4, at(offsets, 5) + 24);
    expect([...readImaLog(zeroed)].filter(({ violation }) => violation).map(({ index }) => index)).toEqual([
      5,
    ]);
    expect(pcr10(zeroed)).not.toBe(honest);
  });
});
