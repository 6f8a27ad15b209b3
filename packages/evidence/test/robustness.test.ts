import { canonicalBytes, decodeShape, KallioError, parseJson, toBase64, toHex } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Attestation,
  authenticateQuote,
  commandLines,
  decodeEvent,
  decodeImaEntry,
  decodeNote,
  EvidenceMessage,
  eventDataIsMeasured,
  eventTypeName,
  imaStart,
  parseEventLog,
  partsOf,
  quotedPcrs,
  readImaLog,
  readImaText,
  replayEventLog,
  replayIma,
  replayInstanceLog,
  runningInstances,
  secureBootState,
  zeroPcr,
} from '../src/index.ts';
import { captured, fixture, pcrsOf, publicArea } from './support/captured.ts';
import { filePath, GLOBAL, imageLoad, measuredLog, secureBootEvents, TYPE, variable } from './support/efi.ts';
import { agileEvent, header, sha1Event } from './support/event-log.ts';
import { digestField, nameField, textEntry } from './support/ima.ts';
import { honestMessage } from './support/message.ts';
import { SoftwareAk } from './support/software-ak.ts';

// Everything here is read before anything about it is known to be true, so whatever it is, a reader must end, and end in
// a value or a refusal: any other error is a crash of the server that an attacker can ask for.

/** The result as text, or the refusal's code. Any other error fails the test. */
function ending(read: () => unknown): string {
  try {
    return JSON.stringify(read(), (_, value: unknown) => plain(value)) ?? 'nothing';
  } catch (error) {
    if (error instanceof KallioError) return error.code;
    throw error;
  }
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  if (value instanceof Map) return [...value];
  return typeof value === 'bigint' ? String(value) : value;
}

/** Reads an event log and does everything that can be done with it. */
function useEventLog(bytes: Uint8Array): unknown {
  const log = parseEventLog(bytes);
  const values = log.banks.map((bank) => replayEventLog(log, bank));
  const measured = log.events.map((event) => log.banks.map((bank) => eventDataIsMeasured(event, bank)));
  const decoded = log.banks.map((bank) => [
    ...log.events.map((event) => ending(() => decodeEvent(event, bank))),
    ending(() => secureBootState(log, bank)),
    ending(() => commandLines(log, bank)),
  ]);
  return [
    log,
    values,
    measured,
    decoded,
    log.notes.map((note) => ending(() => decodeNote(note))),
    log.events.map(({ unauthenticated }) => eventTypeName(unauthenticated.type)),
  ];
}

/** Reads an IMA log and decodes each entry that can be. */
function useImaLog(entries: ReturnType<typeof readImaLog>): unknown {
  const list = [...entries];
  return [
    list.map((entry) => ending(() => decodeImaEntry(entry))),
    replayIma(imaStart('sha256'), list, 'sha256'),
  ];
}

/** Changes to real bytes: those that an attacker makes on purpose, and those that a bad disk makes. */
function mutations(real: Uint8Array): fc.Arbitrary<Uint8Array> {
  const place = fc.nat(real.length - 1);
  const number = fc.constantFrom(0, 1, 0x7f, 0xff, 0x100, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('byte' as const), at: place, value: fc.nat(255) }),
    fc.record({ kind: fc.constant('number' as const), at: place, value: number }),
    fc.record({ kind: fc.constant('cut' as const), at: place, value: fc.nat(64) }),
    fc.record({ kind: fc.constant('insert' as const), at: place, value: fc.nat(255) }),
    fc.record({ kind: fc.constant('copy' as const), at: place, value: place }),
    fc.record({ kind: fc.constant('end' as const), at: place, value: fc.constant(0) }),
  );
  return fc.array(step, { minLength: 1, maxLength: 6 }).map((steps) => {
    let bytes = [...real];
    for (const { kind, at, value } of steps) {
      if (kind === 'byte') bytes[at] = value;
      else if (kind === 'number')
        bytes.splice(at, 4, value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24);
      else if (kind === 'cut') bytes.splice(at, value);
      else if (kind === 'insert') bytes.splice(at, 0, value);
      else if (kind === 'copy') bytes.splice(at, 0, ...bytes.slice(value, value + 128));
      else bytes = bytes.slice(0, at);
    }
    return Uint8Array.from(bytes, (byte) => byte ?? 0);
  });
}

const bytes = fc.uint8Array({ maxLength: 512 });
const runs = { numRuns: 400 };

/** Holds for the bytes as they are: alone, and in the midst of others that must not be read. */
function endsAlike(read: (input: Uint8Array) => unknown) {
  return (input: Uint8Array) => {
    const copy = input.slice();
    const alone = ending(() => read(input));
    expect(input).toEqual(copy);
    // Stops a read past the end, which would show what else is in memory: other evidence, or a key.
    for (const filling of [0x00, 0xff]) {
      const among = new Uint8Array(input.length + 64).fill(filling);
      among.set(input, 32);
      expect(ending(() => read(among.subarray(32, 32 + input.length)))).toBe(alone);
    }
  };
}

describe('any bytes end in a value or a refusal', () => {
  const bios = captured('bios.bin');
  const list = captured('q1.ima.bin').subarray(0, 1200);
  const sha1Log = new Uint8Array([
    ...sha1Event({ pcr: 0, data: Uint8Array.of(1) }),
    ...sha1Event({ pcr: 1 }),
  ]);

  test.each([
    ['any', bytes],
    ['those of a real log, changed', mutations(bios)],
    ['those of an old log, changed', mutations(sha1Log)],
    [
      'a header and any',
      bytes.map((rest) => new Uint8Array([...header(['sha1', 'sha256', [0x12, 32]]), ...rest])),
    ],
  ])('as an event log: %s', (_, arbitrary) => {
    fc.assert(fc.property(arbitrary, endsAlike(useEventLog)), runs);
  });

  test.each([
    ['any', bytes],
    ['those of a real log, changed', mutations(list)],
    [
      'the head of an entry and any',
      fc
        .tuple(fc.constantFrom('ima', 'ima-ng', 'ima-sig', 'd-ng|n-ng|sig'), bytes)
        .map(([template, rest]) =>
          Uint8Array.of(
            ...[10, 0, 0, 0, ...new Uint8Array(20).fill(1), template.length, 0, 0, 0],
            ...new TextEncoder().encode(template),
            ...[rest.length & 255, rest.length >> 8, 0, 0, ...rest],
          ),
        ),
    ],
  ])('as a binary IMA log: %s', (_, arbitrary) => {
    fc.assert(
      fc.property(
        arbitrary,
        endsAlike((input) => useImaLog(readImaLog(input))),
      ),
      runs,
    );
  });

  test('as an ASCII IMA log', () => {
    const text = mutations(captured('q1.ima.txt').subarray(0, 1500)).map((one) =>
      Buffer.from(one).toString('latin1'),
    );
    const made = fc
      .tuple(
        fc.constantFrom('ima', 'ima-ng', 'ima-sig', 'ima-modsig', 'evm-sig'),
        fc.string({ unit: 'binary' }),
      )
      .map(([template, rest]) => `10 ${'00'.repeat(20)} ${template} ${rest}`);
    for (const arbitrary of [fc.string({ unit: 'binary', maxLength: 300 }), text, made])
      fc.assert(
        fc.property(arbitrary, (input) => {
          ending(() => useImaLog(readImaText(input)));
        }),
        runs,
      );
  });

  test('as the data of an event of any type, made and changed', () => {
    const types = [...Array.from({ length: 0x14 }, (_, i) => i), ...Object.values(TYPE)];
    const real = [
      ...secureBootEvents().map(({ data = new Uint8Array(4) }) => data),
      imageLoad(filePath('\\vmlinuz')),
      variable(GLOBAL, 'Boot0001', new Uint8Array(40)),
    ];
    const data = fc.oneof(bytes, ...real.map(mutations));
    fc.assert(
      fc.property(fc.constantFrom(...types), fc.constantFrom(0, 7, 8, 9, 12), data, (type, pcr, data) => {
        useEventLog(measuredLog([{ pcr, type, data }]));
      }),
      { numRuns: 3000 },
    );
  });

  const akPublic = publicArea('debian12-qemu/ak.pub');
  const ak = new SoftwareAk('ecdsa');
  const msg = captured('q1.msg');
  const use = (quote: Attestation, key: Uint8Array) => {
    const authentic = authenticateQuote(quote, { akPublic: key, qualifyingData: new Uint8Array(32) });
    return quotedPcrs(authentic, [pcrsOf('debian12-qemu/q1', 15)], { bank: 'sha256', pcrs: [0] });
  };

  test('as a quote, or its signature, of ECDSA or RSA', () => {
    const cases = [
      { key: akPublic, signature: captured('q1.sig') },
      { key: publicArea('swtpm-rsa/rsassa.pub'), signature: fixture('swtpm-rsa/rsassa.sig') },
      { key: publicArea('swtpm-rsa/rsapss.pub'), signature: fixture('swtpm-rsa/rsapss.sig') },
    ];
    for (const { key, signature } of cases) {
      fc.assert(
        fc.property(fc.oneof(bytes, mutations(msg)), fc.oneof(bytes, mutations(signature)), (attest, sig) => {
          ending(() => use({ attest: toBase64(attest), signature: toBase64(sig) }, key));
          ending(() => use({ attest: toBase64(attest), signature: toBase64(signature) }, key));
        }),
        runs,
      );
    }
  });

  test('as a quote that the AK has signed', () => {
    // Signed, so that the structure is read: an attacker who has the AK sign what he likes crashes nothing.
    fc.assert(
      fc.property(fc.oneof(bytes, mutations(msg)), (attest) => {
        ending(() => use({ attest: toBase64(attest), signature: toBase64(ak.sign(attest)) }, ak.public));
      }),
      runs,
    );
  });

  test('as base64', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (attest, signature) => {
        ending(() => use({ attest, signature }, akPublic));
        ending(() => partsOf({ ...honestMessage(), eventLog: attest }));
      }),
      runs,
    );
  });

  test('as an AK', () => {
    const quote = { attest: toBase64(msg), signature: toBase64(captured('q1.sig')) };
    const keys = fc.oneof(bytes, mutations(akPublic), mutations(publicArea('swtpm-rsa/rsassa.pub')));
    fc.assert(
      fc.property(keys, (key) => {
        ending(() => use(quote, key));
      }),
      runs,
    );
  });

  test('as a message', () => {
    const text = new TextEncoder().encode(JSON.stringify(honestMessage()));
    const read = (input: Uint8Array) => {
      const message = decodeShape(EvidenceMessage, parseJson(input));
      return [partsOf(message), canonicalBytes(message)];
    };
    fc.assert(fc.property(fc.oneof(bytes, mutations(text)), endsAlike(read)), runs);
  });

  test('as entries of an instance log', () => {
    // What has not passed the schema, even: strings of any kind, places that are no numbers.
    const text = fc.string({ unit: 'binary', maxLength: 8 });
    const entries = fc.array(
      fc.record({
        seq: fc.oneof(fc.nat(3), fc.double()),
        salt: fc.oneof(text, fc.constant('ab'.repeat(32))),
        event: fc.record({
          verb: fc.constantFrom('create', 'start', 'exec', 'kill', 'delete', 'pause', 'restore'),
          instance: text,
          container: fc.constantFrom('c1', 'c2', '__proto__'),
          image: text,
        }),
      }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(entries, (list) => {
        ending(() => replayInstanceLog(zeroPcr('sha256'), list));
        ending(() => runningInstances(list));
      }),
      runs,
    );
  });
});

describe('input as large as it may be is read in the time that its length takes', () => {
  // Stops a small message from costing a server minutes. The test's own time limit is what fails here.
  const limit = 16 * 1024 * 1024;

  function filled(unit: Uint8Array, start: Uint8Array = new Uint8Array()): Uint8Array {
    const count = Math.floor((limit - start.length) / unit.length);
    const out = new Uint8Array(start.length + count * unit.length);
    out.set(start);
    for (let i = 0; i < count; i++) out.set(unit, start.length + i * unit.length);
    return out;
  }

  test('an event log of the smallest events', () => {
    const log = parseEventLog(filled(agileEvent({ pcr: 4 }, [['sha256', 1]]), header(['sha256'])));
    expect(log.events.length).toBeGreaterThan(300_000);
  });

  test('an IMA log of the smallest entries', () => {
    const head = [10, 0, 0, 0, ...new Uint8Array(20), 1, 0, 0, 0, 0x64, 0, 0, 0, 0];
    let entries = 0;
    for (const _ of readImaLog(filled(Uint8Array.from(head)))) entries++;
    expect(entries).toBeGreaterThan(400_000);
  });

  test('an ASCII IMA log whose names look like entries', () => {
    const name = `/${`\n10 ${'ab'.repeat(20)} ima-ng x`.repeat(60)}`;
    const made = { template: 'ima-ng', fields: [digestField('sha256', new Uint8Array(32)), nameField(name)] };
    const line = textEntry(made, [`sha256:${'00'.repeat(32)}`, name]);
    const count = Math.floor((1024 * 1024) / line.length);
    let entries = 0;
    for (const _ of readImaText(line.repeat(count))) entries++;
    expect(entries).toBe(count);
  });

  test('an ASCII IMA log of line breaks', () => {
    expect(ending(() => [...readImaText('\n'.repeat(limit / 4))])).toBe('IMA_MALFORMED');
  });
});
