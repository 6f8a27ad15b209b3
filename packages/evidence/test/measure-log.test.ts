import { createHash, createHmac } from 'node:crypto';
import { toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseMeasureLog, recordTextIsMeasured, replayMeasureLog } from '../src/index.ts';
import { at, flip } from './support/bytes.ts';
import { code, outcome } from './support/refusal.ts';

// systemd's log of what it measures after the boot, as systemd-pcrextend writes it.

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function record(pcr: number, text: string, change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    pcr,
    digests: [{ hashAlg: 'sha256', digest: sha256Of(text) }],
    content_type: 'systemd',
    content: { string: text, bootId: 'ab'.repeat(16), timestamp: 2_345_678, eventType: 'phase' },
    ...change,
  };
}

const PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'];
const RECORDS = [...PHASES.map((phase) => record(11, phase)), record(15, `machine-id:${'cd'.repeat(16)}`)];

/** As systemd writes it: a record separator, the JSON text, a line break. */
function seq(records: readonly unknown[]): Uint8Array {
  return utf8(records.map((one) => `\u001e${JSON.stringify(one)}\n`).join(''));
}

/** PCR after these texts, by the rule and not by the code that is tested. */
function pcrAfter(start: Buffer, texts: readonly string[]): string {
  let value = start;
  for (const text of texts) {
    value = createHash('sha256').update(value).update(createHash('sha256').update(text).digest()).digest();
  }
  return value.toString('hex');
}

describe('systemd’s measurement log', () => {
  test('leads on from where the firmware’s log ends', () => {
    const start = new Map([
      [11, new Uint8Array(32).fill(5)],
      [7, new Uint8Array(32).fill(6)],
    ]);
    const { pcrs } = replayMeasureLog(parseMeasureLog(seq(RECORDS)), 'sha256', start);
    expect(toHex(pcrs.get(11) ?? new Uint8Array())).toBe(pcrAfter(Buffer.alloc(32, 5), PHASES));
    expect(toHex(pcrs.get(15) ?? new Uint8Array())).toBe(
      pcrAfter(Buffer.alloc(32), [`machine-id:${'cd'.repeat(16)}`]),
    );
    expect(pcrs.get(7)).toEqual(new Uint8Array(32).fill(6));
  });

  test('is read with record separators and as lines alike', () => {
    const lines = utf8(RECORDS.map((one) => `${JSON.stringify(one)}\n`).join(''));
    expect(parseMeasureLog(lines)).toEqual(parseMeasureLog(seq(RECORDS)));
    expect(parseMeasureLog(new Uint8Array())).toEqual([]);
  });

  test('proves a record’s text only where the text is what was hashed', () => {
    const key = createHmac('sha256', 'volume key').update('cryptsetup:root').digest('hex');
    const volume = record(15, 'cryptsetup:root', { digests: [{ hashAlg: 'sha256', digest: key }] });
    const measured = parseMeasureLog(seq([...RECORDS, volume])).map((one) =>
      recordTextIsMeasured(one, 'sha256'),
    );
    expect(measured).toEqual([true, true, true, true, true, false]);
  });

  test('extends NV indexes apart from the PCRs', () => {
    const { pcr: _, ...nv } = record(0, 'product-id:missing', { nv_index: 0x01d1_0200 });
    const { pcrs, nvIndexes } = replayMeasureLog(parseMeasureLog(seq([nv])), 'sha256');
    expect([...pcrs]).toEqual([]);
    expect(toHex(nvIndexes.get(0x01d1_0200) ?? new Uint8Array())).toBe(
      pcrAfter(Buffer.alloc(32), ['product-id:missing']),
    );
  });

  test('leads elsewhere with a record left out, doubled, moved or changed', () => {
    // Stops a boot phase, an extension or a file system from being left out of what user space measured.
    const lead = (records: readonly unknown[]) =>
      toHex(replayMeasureLog(parseMeasureLog(seq(records)), 'sha256').pcrs.get(11) ?? new Uint8Array());
    const honest = lead(RECORDS);
    for (const i of PHASES.keys()) {
      expect(lead(RECORDS.toSpliced(i, 1))).not.toBe(honest);
      expect(lead(RECORDS.toSpliced(i, 0, at(RECORDS, i)))).not.toBe(honest);
      expect(lead(RECORDS.with(i, record(11, 'other')))).not.toBe(honest);
      if (i > 0)
        expect(lead(RECORDS.toSpliced(i - 1, 2, at(RECORDS, i), at(RECORDS, i - 1)))).not.toBe(honest);
    }
    expect(lead([...RECORDS])).toBe(honest);
  });

  test('with any one bit turned is refused, leads elsewhere, or says otherwise what nothing proves', () => {
    const log = seq(RECORDS);
    const believed = (bytes: Uint8Array) => {
      const records = parseMeasureLog(bytes);
      const { pcrs } = replayMeasureLog(records, 'sha256');
      const proved = records.filter((one) => recordTextIsMeasured(one, 'sha256'));
      return {
        pcrs: [...pcrs].map(([pcr, value]) => `${pcr} ${toHex(value)}`).join(' '),
        proved: proved.map((one) => one.unauthenticated.text),
      };
    };
    const honest = believed(log);
    const seen = { refused: 0, elsewhere: 0, unproved: 0 };
    for (let bit = 0; bit < log.length * 8; bit++) {
      const result = outcome(() => believed(flip(log, bit)));
      if ('code' in result) {
        if (!result.code.startsWith('MEASURELOG_')) expect.fail(`bit ${bit}: ${result.code}`);
        seen.refused++;
      } else if (result.value.pcrs !== honest.pcrs) seen.elsewhere++;
      else {
        // What is still proved was proved before.
        for (const text of result.value.proved) expect(honest.proved).toContain(text);
        seen.unproved++;
      }
    }
    expect(seen.refused).toBeGreaterThan(1000);
    expect(seen.elsewhere).toBeGreaterThan(500);
    expect(seen.unproved).toBeGreaterThan(500);
  });

  const flaws: readonly [string, unknown][] = [
    ['is no object', 7],
    ['names no PCR', { ...record(11, 'x'), pcr: undefined }],
    ['names a PCR and an NV index', record(11, 'x', { nv_index: 0x01d1_0200 })],
    ['names PCR 24', record(24, 'x')],
    ['names PCR -1', record(-1, 'x')],
    ['names half a PCR', record(11.5, 'x')],
    ['names a handle that is no NV index', { ...record(11, 'x'), pcr: undefined, nv_index: 0x8100_0001 }],
    ['has no digest', record(11, 'x', { digests: [] })],
    [
      'has a digest twice',
      record(11, 'x', { digests: Array(2).fill({ hashAlg: 'sha256', digest: sha256Of('x') }) }),
    ],
    [
      'has a digest of another length',
      record(11, 'x', { digests: [{ hashAlg: 'sha256', digest: 'ab'.repeat(20) }] }),
    ],
    [
      'has a digest in capitals',
      record(11, 'x', { digests: [{ hashAlg: 'sha256', digest: 'AB'.repeat(32) }] }),
    ],
    [
      'has a digest of an unknown algorithm',
      record(11, 'x', { digests: [{ hashAlg: 'md5', digest: 'ab'.repeat(20) }] }),
    ],
    ['is of another content type', record(11, 'x', { content_type: 'pcclient_std' })],
    ['has a field that nobody knows', record(11, 'x', { extra: 1 })],
    ['has content that is no object', record(11, 'x', { content: 'x' })],
    ['has a number where text is', record(11, 'x', { content: { string: 7 } })],
    ['is nested deeper than any', record(11, 'x', { content: { a: [[[[[[[[[1]]]]]]]]] } })],
  ];
  test.each(flaws)('is refused when a record %s, and the record is named', (_, flaw) => {
    expect(parseMeasureLog(seq([record(11, 'a'), record(11, 'x')]))).toHaveLength(2);
    expect(() => parseMeasureLog(seq([record(11, 'a'), flaw]))).toThrow(
      code('MEASURELOG_MALFORMED', 'record:1'),
    );
  });

  test('is refused with a key twice, cut short, or with anything between its records', () => {
    const twice = utf8('\u001e{"pcr":11,"pcr":12,"digests":[],"content_type":"systemd","content":{}}\n');
    expect(() => parseMeasureLog(twice)).toThrow(code('MEASURELOG_MALFORMED', 'record:0'));
    const log = seq(RECORDS);
    expect(() => parseMeasureLog(log.subarray(0, -2))).toThrow(code('MEASURELOG_MALFORMED', 'record:4'));
    expect(() => parseMeasureLog(utf8(`x${new TextDecoder().decode(log)}`))).toThrow(
      code('MEASURELOG_MALFORMED'),
    );
    expect(() => parseMeasureLog(Uint8Array.of(0x1e, 0xff))).toThrow(code('MEASURELOG_MALFORMED'));
  });

  test('that counts its records counts them all, in order', () => {
    const numbered = RECORDS.map((one, i) => ({ recnum: i + 3, ...one }));
    expect(parseMeasureLog(seq(numbered))).toEqual(parseMeasureLog(seq(RECORDS)));
    const refused = code('MEASURELOG_MALFORMED', 'record:2');
    expect(() => parseMeasureLog(seq(numbered.toSpliced(2, 1)))).toThrow(refused);
    expect(() => parseMeasureLog(seq(numbered.toSpliced(2, 0, at(numbered, 1))))).toThrow(refused);
    expect(() => parseMeasureLog(seq([...numbered.slice(0, 2), at(RECORDS, 2)]))).toThrow(refused);
  });

  test('without a digest of the bank leads nowhere in it', () => {
    expect(() => replayMeasureLog(parseMeasureLog(seq(RECORDS)), 'sha384')).toThrow(
      code('MEASURELOG_BANK', 'record:0'),
    );
  });

  test('larger than any is refused unread', () => {
    expect(() => parseMeasureLog(new Uint8Array(16 * 1024 * 1024 + 1))).toThrow(code('MEASURELOG_TOO_LARGE'));
    const small =
      '{"pcr":1,"digests":[{"hashAlg":"sha1","digest":"' +
      '00'.repeat(20) +
      '"}],"content_type":"systemd","content":{}}\n';
    expect(() => parseMeasureLog(utf8(small.repeat(65_537)))).toThrow(code('MEASURELOG_TOO_LARGE'));
    const long = record(11, 'x'.repeat(70_000));
    expect(() => parseMeasureLog(seq([long]))).toThrow(code('MEASURELOG_MALFORMED', 'record:0'));
  });

  test('of any bytes ends in records or a refusal', () => {
    const text = new TextDecoder().decode(seq(RECORDS.slice(0, 2)));
    const changed = fc
      .tuple(fc.nat(text.length), fc.nat(40), fc.string({ unit: 'binary', maxLength: 8 }))
      .map(([start, cut, insert]) =>
        utf8((text.slice(0, start) + insert + text.slice(start + cut)).toWellFormed()),
      );
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), changed), (bytes) => {
        const result = outcome(() => replayMeasureLog(parseMeasureLog(bytes), 'sha256'));
        if ('code' in result) expect(result.code).toMatch(/^MEASURELOG_/);
      }),
      { numRuns: 1000 },
    );
  });
});
