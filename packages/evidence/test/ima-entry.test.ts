import { concat, fromHex, sha256, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeImaEntry,
  type EvidenceCode,
  type ImaEntry,
  imaStart,
  readImaLog,
  replayIma,
  usualDigestStart,
  usualName,
} from '../src/index.ts';
import { at, u32le } from './support/bytes.ts';
import {
  binaryEntry,
  digestField,
  type Made,
  nameField,
  pcr10,
  pcrAfter,
  said,
  written,
} from './support/ima.ts';
import { code, outcome } from './support/refusal.ts';

// Entries as a kernel writes them, or as an attacker does, each flaw next to the entry without it.

const SHA256 = new Uint8Array(32).fill(7);
const NG: Made = { template: 'ima-ng', fields: [digestField('sha256', SHA256), nameField('/bin/sh')] };
const SIGNATURE = utf8('\x03\x02 a signature');

/** One entry of each template, with what it must be read as. */
const TEMPLATES: readonly [made: Made, name: string, fields: readonly (readonly [string, Uint8Array])[]][] = [
  [NG, '/bin/sh', []],
  [{ template: 'ima', fields: [new Uint8Array(20).fill(7), utf8('/bin/sh')] }, '/bin/sh', []],
  [{ template: 'ima-sig', fields: [...NG.fields, SIGNATURE] }, '/bin/sh', [['sig', SIGNATURE]]],
  [{ template: 'ima-sig', fields: [...NG.fields, new Uint8Array()] }, '/bin/sh', []],
  [
    { template: 'ima-ngv2', fields: [digestField('verity:sha256', SHA256), nameField('/bin/sh')] },
    '/bin/sh',
    [],
  ],
  [
    { template: 'ima-sigv2', fields: [digestField('ima:sha256', SHA256), nameField('/bin/sh'), SIGNATURE] },
    '/bin/sh',
    [['sig', SIGNATURE]],
  ],
  [
    {
      template: 'ima-buf',
      fields: [digestField('sha256', SHA256), nameField('kexec-cmdline'), utf8('quiet')],
    },
    'kexec-cmdline',
    [['buf', utf8('quiet')]],
  ],
  [
    {
      template: 'ima-modsig',
      fields: [...NG.fields, new Uint8Array(), digestField('sha256', SHA256), SIGNATURE],
    },
    '/bin/sh',
    [
      ['d-modsig', digestField('sha256', SHA256)],
      ['modsig', SIGNATURE],
    ],
  ],
  [
    { template: 'n-ng|d-ng|sig', fields: [nameField('/bin/sh'), digestField('sha256', SHA256), SIGNATURE] },
    '/bin/sh',
    [['sig', SIGNATURE]],
  ],
];

describe('an IMA entry', () => {
  test.each(TEMPLATES)(
    'of template $template is read, and extends PCR 10 with the hash of its data',
    (made, name, fields) => {
      const [entry] = readImaLog(binaryEntry(made));
      if (entry === undefined) throw new Error('one entry');
      const old = made.template === 'ima';
      expect(written(decodeImaEntry(entry))).toEqual({
        name,
        digest: {
          algorithm: old ? 'sha1' : 'sha256',
          bytes: new Uint8Array(old ? 20 : 32).fill(7),
          type: made.template === 'ima-ngv2' ? 'verity' : 'ima',
        },
        fields: new Map(fields),
      });
      for (const bank of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
        const after = replayIma(imaStart(bank), [entry, entry], bank);
        expect(after.entries).toBe(2);
        expect(toHex(after.pcr)).toBe(pcrAfter(bank, [made, made]));
      }
    },
  );

  test('of template ima-ng has a template digest that is known', () => {
    // By hand: printf '\x28\0\0\0sha256:\0'<32 x 07>'\x08\0\0\0/bin/sh\0' | sha256sum
    const known = fromHex('a75569f2d6fa15a05d364f650410471600671535379e696db600f814ebb946a5');
    expect(pcr10(binaryEntry(NG))).toBe(toHex(sha256(new Uint8Array(32), known)));
  });

  test('that is a violation extends all ones, whatever it says', () => {
    // Stops a list from naming a harmless file where the kernel recorded a violation: its content is not believed, and
    // whoever reads it sees that by `violation`.
    const violation: Made = { ...NG, violation: true };
    const other: Made = { ...violation, fields: [digestField('sha256', SHA256), nameField('/bin/other')] };
    for (const bank of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
      const value = pcrAfter(bank, [NG, violation, NG]);
      for (const one of [violation, other]) {
        const list = [...readImaLog(concat(binaryEntry(NG), binaryEntry(one), binaryEntry(NG)))];
        expect(list.map((entry) => entry.violation)).toEqual([false, true, false]);
        expect(toHex(replayIma(imaStart(bank), list, bank).pcr)).toBe(value);
      }
      // The twin that is no violation leads elsewhere.
      const plain = readImaLog(concat(binaryEntry(NG), binaryEntry(NG), binaryEntry(NG)));
      expect(toHex(replayIma(imaStart(bank), plain, bank).pcr)).not.toBe(value);
    }
  });

  test('has the kernel’s SHA-1 digest ignored but for a violation’s zeros', () => {
    // Stops a forged SHA-1 from standing for the data: what is extended is computed from the data itself.
    const forged = binaryEntry(NG);
    forged.set(new Uint8Array(20).fill(0xaa), 4);
    expect(pcr10(forged)).toBe(pcrAfter('sha256', [NG]));
    forged.set(new Uint8Array(19), 4);
    expect(pcr10(forged)).toBe(pcrAfter('sha256', [NG]));
    forged.set(new Uint8Array(20), 4);
    expect(pcr10(forged)).toBe(pcrAfter('sha256', [{ ...NG, violation: true }]));
  });

  test('of template ima-sig is not believed under the name of ima-ng', () => {
    // Stops the template's name, which no hash covers, from changing how measured data is read.
    const sig = binaryEntry({ template: 'ima-sig', fields: [...NG.fields, SIGNATURE] });
    expect(said(sig)).toContain('/bin/sh');
    const data = sig.subarray(4 + 20 + 4 + 'ima-sig'.length);
    const renamed = concat(sig.subarray(0, 24), u32le(6), utf8('ima-ng'), data);
    expect(pcr10(renamed)).toBe(pcr10(sig));
    expect(() => said(renamed)).toThrow(code('IMA_MALFORMED', 'ima:0'));
  });

  const longName = concat(u32le(256), new Uint8Array(256).fill(0x61));
  const lists: readonly [string, EvidenceCode, Uint8Array][] = [
    // Stops entries that were extended elsewhere from being taken for proved by PCR 10.
    ['is of PCR 11', 'IMA_PCR', binaryEntry({ ...NG, pcr: 11 })],
    ['is of PCR 0', 'IMA_PCR', binaryEntry({ ...NG, pcr: 0 })],
    ['is big-endian', 'IMA_PCR', concat(Uint8Array.of(0, 0, 0, 10), binaryEntry(NG).subarray(4))],
    // Stops data whose fields nobody knows how to tell apart.
    ['has an unknown template', 'IMA_TEMPLATE', binaryEntry({ ...NG, template: 'ima-ngx' })],
    ['has a template with an unknown field', 'IMA_TEMPLATE', binaryEntry({ ...NG, template: 'd-ng|name' })],
    ['has a template of 17 fields', 'IMA_TEMPLATE', binaryEntry({ ...NG, template: `${'d|'.repeat(16)}d` })],
    ['has a template with a zero in its name', 'IMA_TEMPLATE', binaryEntry({ ...NG, template: 'ima-ng\0' })],
    ['has a template without a name', 'IMA_TEMPLATE', binaryEntry({ ...NG, template: '' })],
    [
      'has a template of a name’s 256 bytes',
      'IMA_TEMPLATE',
      concat(binaryEntry(NG).subarray(0, 24), longName),
    ],
    // Stops a length that reaches past the end, or is negative where lengths are signed.
    ['says 2^32 - 1 bytes of data', 'IMA_MALFORMED', withDataSize(0xffff_ffff)],
    ['says a byte of data too many', 'IMA_MALFORMED', withDataSize(dataLength() + 1)],
    // Stops a name that is longer than what the kernel hashes of it, so that its end is not authenticated.
    [
      'has a name of 256 bytes in template ima',
      'IMA_MALFORMED',
      concat(
        binaryEntry({ template: 'ima', fields: [new Uint8Array(20), new Uint8Array(0)] }).subarray(0, -4),
        longName,
      ),
    ],
  ];
  test.each(lists)('is refused when it %s, and the entry before it is read', (_, expected, bytes) => {
    expect([...readImaLog(concat(binaryEntry(NG), binaryEntry(NG)))]).toHaveLength(2);
    const read: ImaEntry[] = [];
    expect(() => {
      for (const entry of readImaLog(concat(binaryEntry(NG), bytes), { from: 7 })) read.push(entry);
    }).toThrow(code(expected, 'ima:8'));
    expect(read.map(({ index }) => index)).toEqual([7]);
  });

  const digest = digestField('sha256', SHA256);
  const contents: readonly [string, EvidenceCode, Made][] = [
    ['lacks a field', 'IMA_MALFORMED', { template: 'ima-ng', fields: [digest] }],
    // Stops a field that nobody reads from travelling in a measured entry.
    ['has a field too many', 'IMA_MALFORMED', { template: 'ima-ng', fields: [...NG.fields, digest] }],
    ['has no fields', 'IMA_MALFORMED', { template: 'ima-ng', fields: [] }],
    // Stops a digest from being compared as one of an algorithm that it is not of.
    ['has a digest without algorithm', 'IMA_MALFORMED', ng(SHA256)],
    ['has a digest without a colon', 'IMA_MALFORMED', ng(concat(utf8('sha256\0'), SHA256))],
    ['has a digest of no algorithm', 'IMA_MALFORMED', ng(digestField('', SHA256))],
    ['has a digest in capitals', 'IMA_MALFORMED', ng(digestField('SHA256', SHA256))],
    ['has a digest with a type', 'IMA_MALFORMED', ng(digestField('verity:sha256', SHA256))],
    // Stops the digest of a file's Merkle tree from standing for that of its bytes.
    ['has a digest of unknown type', 'IMA_MALFORMED', v2(digestField('other:sha256', SHA256))],
    ['has a digest of no type', 'IMA_MALFORMED', v2(digestField('sha256', SHA256))],
    ['has a digest of two types', 'IMA_MALFORMED', v2(digestField('ima:verity:sha256', SHA256))],
    // Stops an entry that measures something without saying what, or says what without measuring it.
    ['has no digest in its template', 'IMA_TEMPLATE', { template: 'n-ng', fields: [nameField('/bin/sh')] }],
    ['has no name in its template', 'IMA_TEMPLATE', { template: 'd-ng', fields: [digest] }],
  ];
  test.each(contents)('can’t be decoded when it %s', (_, expected, made) => {
    const decode = (one: Made) => [...readImaLog(binaryEntry(one), { from: 3 })].map(decodeImaEntry);
    expect(decode(NG)).toHaveLength(1);
    expect(() => decode(made)).toThrow(code(expected, 'ima:3'));
  });

  test('has a name that ends at its zero, and is written out where it is no UTF-8', () => {
    const name = (bytes: Uint8Array) =>
      decodeImaEntry(at([...readImaLog(binaryEntry({ ...NG, fields: [digest, bytes] }))], 0)).name;
    expect(name(utf8('/bin/sh\0/bin/evil\0'))).toBe('/bin/sh');
    expect(name(utf8('/bin/sh'))).toBe('/bin/sh');
    expect(name(nameField('/tmp/ä b\n'))).toBe('/tmp/ä b\n');
    // Stops two names from being read as one: the replacement character stands for every byte that is not UTF-8.
    expect(name(Uint8Array.of(0x2f, 0xff, 0))).toBe('/\\xff');
    expect(name(Uint8Array.of(0x2f, 0xfe, 0))).toBe('/\\xfe');
  });
});

function ng(digest: Uint8Array): Made {
  return { template: 'ima-ng', fields: [digest, nameField('/bin/sh')] };
}

function v2(digest: Uint8Array): Made {
  return { template: 'ima-ngv2', fields: [digest, nameField('/bin/sh')] };
}

function dataLength(): number {
  return binaryEntry(NG).length - (4 + 20 + 4 + 'ima-ng'.length + 4);
}

function withDataSize(size: number): Uint8Array {
  const entry = binaryEntry(NG);
  entry.set(u32le(size), entry.length - dataLength() - 4);
  return entry;
}

test('a list as long as the limit is read, one of a byte more is refused unread', () => {
  // Stops a list from taking the server's memory.
  const entry = binaryEntry(NG);
  expect([...readImaLog(entry, { maxBytes: entry.length })]).toHaveLength(1);
  expect(() => [...readImaLog(entry, { maxBytes: entry.length - 1 })]).toThrow(code('IMA_TOO_LARGE'));
  expect(() => [...readImaLog(new Uint8Array(64 * 1024 * 1024 + 1))]).toThrow(code('IMA_TOO_LARGE'));
});

describe('the digest of an entry of the usual form', () => {
  const entryOf = (made: Made): ImaEntry => {
    const [entry] = readImaLog(binaryEntry(made));
    if (entry === undefined) throw new Error('one entry');
    return entry;
  };
  const v2: Made = {
    template: 'ima-ngv2',
    fields: [digestField('ima:sha256', SHA256), nameField('/bin/sh')],
  };

  test('is found where it stands', () => {
    for (const made of [...TEMPLATES.map(([one]) => one), v2]) {
      const entry = entryOf(made);
      const { digest } = decodeImaEntry(entry);
      const [first] = made.fields;
      const usual = digest.type === 'ima' && digest.algorithm === 'sha256' && first?.length !== undefined;
      const leads = usual && made.template.startsWith('ima');
      expect(usualDigestStart(entry), made.template).toBe(leads ? digest.start : -1);
    }
  });

  test('is not found in an entry of another form, of another digest, or that is refused', () => {
    const other: Made[] = [
      { template: 'ima-ng', fields: [digestField('sha512', new Uint8Array(64)), nameField('/bin/sh')] },
      { template: 'ima-ng', fields: [digestField('sha1', new Uint8Array(32)), nameField('/bin/sh')] },
      { template: 'ima-ng', fields: [digestField('sha256', new Uint8Array(31)), nameField('/bin/sh')] },
      { template: 'ima-ng', fields: [digestField('sha256', new Uint8Array(33)), nameField('/bin/sh')] },
      { template: 'ima-ng', fields: [...NG.fields, nameField('a field more')] },
      { template: 'ima-ng', fields: NG.fields.slice(0, 1) },
      { template: 'ima-ngv2', fields: NG.fields },
      { template: 'd-ng', fields: NG.fields.slice(0, 1) },
      { template: 'd-ng|sig', fields: NG.fields },
      // Its name does not follow.
      { template: 'd-ng|sig|n-ng', fields: [digestField('sha256', SHA256), SIGNATURE, nameField('/bin/sh')] },
    ];
    for (const made of other) expect(usualDigestStart(entryOf(made)), made.template).toBe(-1);
    expect(usualDigestStart(entryOf({ ...NG, template: 'd-ng|n-ng' }))).toBe(12);
  });

  test('is the one that decoding finds, in any bytes', () => {
    const made = [...TEMPLATES.map(([one]) => one), v2].map(entryOf);
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 });
    const cut = fc.option(fc.nat({ max: 80 }), { nil: undefined });
    let found = 0;
    fc.assert(
      fc.property(fc.constantFrom(...made), changes, cut, (honest, changed, length) => {
        const data = honest.data.slice(0, length);
        for (const [place, byte] of changed) if (data.length > 0) data[place % data.length] = byte;
        const entry = { ...honest, data };
        const start = usualDigestStart(entry);
        if (start === -1) return;
        found++;
        const decoded = outcome(() => decodeImaEntry(entry));
        if (!('value' in decoded)) throw new Error(`an entry that is refused: ${decoded.code}`);
        const { digest, nameStart, nameEnd } = decoded.value;
        const { algorithm, type, start: from, end } = digest;
        expect({ algorithm, type, from, end }).toEqual({
          algorithm: 'sha256',
          type: 'ima',
          from: start,
          end: start + 32,
        });
        expect(usualName(entry, start)).toEqual({ start: nameStart, end: nameEnd });
      }),
      { numRuns: 5000 },
    );
    expect(found).toBeGreaterThan(100);
  });
});
