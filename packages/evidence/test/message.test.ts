import { decodeShape, type Json, parseJson } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { EvidenceMessage } from '../src/index.ts';
import { honestMessage } from './support/message.ts';
import { outcome } from './support/refusal.ts';

// The message as it comes from the network: text that an attacker has written, read by the one schema.

function read(text: string): EvidenceMessage {
  return decodeShape(EvidenceMessage, parseJson(text, { maxBytes: 64 * 1024 * 1024 }));
}

const MESSAGE = honestMessage();
const TEXT = JSON.stringify(MESSAGE);
const JSON_MESSAGE: Json = parseJson(TEXT);

type Path = readonly string[];

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every place in a value: the keys that lead to it, and what is there. */
function* places(value: Json, path: Path = []): Generator<readonly [path: Path, value: Json]> {
  yield [path, value];
  if (typeof value === 'object' && value !== null)
    for (const [key, member] of Object.entries(value)) yield* places(member, [...path, key]);
}

/** The value with another one at a place; `undefined` takes the place away. */
function put(value: Json, [key, ...rest]: Path, other: Json | undefined): Json {
  if (key === undefined) return other ?? null;
  const replace = (member: Json) => (rest.length === 0 ? other : put(member, rest, other));
  if (Array.isArray(value)) {
    const replaced = replace(value[Number(key)] ?? null);
    return replaced === undefined ? value.toSpliced(Number(key), 1) : value.with(Number(key), replaced);
  }
  if (!isObject(value)) throw new Error(`nothing at ${key}`);
  const replaced = replace(value[key] ?? null);
  const others = Object.entries(value).filter(([name]) => name !== key);
  return Object.fromEntries(replaced === undefined ? others : [...others, [key, replaced]]);
}

const pathOf = (pointer: string): Path => pointer.split('/').slice(1);

/** What reading comes to with another value at a place. */
function readWith(pointer: string, other: Json | undefined) {
  return outcome(() => read(JSON.stringify(put(JSON_MESSAGE, pathOf(pointer), other))));
}

const REFUSED = { code: 'SHAPE_MISMATCH' };

describe('an evidence message', () => {
  test('is read as it was written', () => {
    expect(read(TEXT)).toEqual(MESSAGE);
  });

  test('is refused with a field that nobody knows, anywhere', () => {
    // Stops a claim that nobody checks from riding in a message that somebody believes.
    let objects = 0;
    for (const [path, value] of places(JSON_MESSAGE)) {
      if (!isObject(value)) continue;
      objects++;
      for (const key of ['extra', '', '__proto__', 'constructor', 'Version', '07', '24', '-1', ' 7', '7.0']) {
        const other = Object.fromEntries([...Object.entries(value), [key, '00'.repeat(32)]]);
        const result = outcome(() => read(JSON.stringify(put(JSON_MESSAGE, path, other))));
        expect(result, `${key} in /${path.join('/')}`).toEqual(REFUSED);
      }
    }
    expect(objects).toBe(12);
  });

  test('is refused with any key twice, even with the same value', () => {
    // Stops two readers from believing two values: the one that signs or logs, and the one that judges.
    let keys = 0;
    for (const [path, value] of places(JSON_MESSAGE)) {
      if (!isObject(value)) continue;
      for (const [key, member] of Object.entries(value)) {
        keys++;
        const once = `${JSON.stringify(key)}:${JSON.stringify(member)}`;
        const marked = put(JSON_MESSAGE, path, { ...value, [key]: '@' });
        const text = JSON.stringify(marked);
        expect(read(text.replace(`${JSON.stringify(key)}:"@"`, once))).toEqual(MESSAGE);
        const twice = text.replace(`${JSON.stringify(key)}:"@"`, `${once},${once}`);
        expect(
          outcome(() => read(twice)),
          `${key} in /${path.join('/')}`,
        ).toEqual({ code: 'JSON_DUPLICATE_KEY' });
        // The same key, spelled with an escape.
        const escaped = `"\\u${key.charCodeAt(0).toString(16).padStart(4, '0')}${key.slice(1)}"`;
        const spelled = text.replace(`${JSON.stringify(key)}:"@"`, `${once},${escaped}:1`);
        expect(outcome(() => read(spelled))).toEqual({ code: 'JSON_DUPLICATE_KEY' });
      }
    }
    expect(keys).toBe(38);
  });

  test('is refused with a value of any other type, anywhere', () => {
    // Stops a value that a check passes over because it is not of the type that is checked.
    const others: readonly Json[] = [null, true, -1, 0.5, 1e300, '\n', [], [[]], {}, [null]];
    const emptyIsFine = /^\/(?:instanceLog\/entries|inventory\/(?:containers(?:\/0\/processes)?|changed))$/;
    for (const [path, value] of places(JSON_MESSAGE)) {
      const pointer = `/${path.join('/')}`;
      for (const other of others) {
        if (Array.isArray(other) && other.length === 0 && emptyIsFine.test(pointer)) continue;
        // Free text may be any text; no PCR value at all has the right shape, and is refused later as missing.
        if (typeof other === 'string' && /\/(?:instance|scope|executable|path|0\/container)$/.test(pointer)) {
          if (!/entries\/0\/event\/container$/.test(pointer)) continue;
        }
        if (isObject(other) && pointer === '/pcrs/0/values') continue;
        const result = outcome(() => read(JSON.stringify(put(JSON_MESSAGE, path, other))));
        expect(result, `${JSON.stringify(other)} for ${pointer} (${typeof value})`).toEqual(REFUSED);
      }
    }
  });

  test('is refused without any field but those that may be absent', () => {
    // Stops a message whose missing part is taken for an empty one.
    const optional: string[] = [];
    for (const [path] of places(JSON_MESSAGE)) {
      const key = path.at(-1);
      if (key === undefined || /^\d+$/.test(key)) continue;
      const result = outcome(() => read(JSON.stringify(put(JSON_MESSAGE, path, undefined))));
      if ('value' in result) optional.push(`/${path.join('/')}`);
      else expect(result).toEqual(REFUSED);
    }
    expect(optional).toEqual(['/eventLog', '/ima', '/instanceLog/entries/0/event/config']);
  });

  const hex64 = 'ab'.repeat(32);
  const accepted: readonly (readonly [pointer: string, Json])[] = [
    ['/purpose', 'transport-key'],
    ['/purpose', 'session-open'],
    ['/purpose', 'session-close'],
    ['/attester', 'a'],
    ['/attester', 'a'.repeat(63)],
    ['/attester', 'node-1.edge.example'],
    ['/quote/attest', 'A'.repeat(5464)],
    ['/quote/signature', 'A'.repeat(1368)],
    ['/pcrs', [bankOf('sha256', hex64), bankOf('sha384', 'ab'.repeat(48))]],
    ['/pcrs/0/values', {}],
    ['/ima/from', Number.MAX_SAFE_INTEGER],
    ['/instanceLog/from', Number.MAX_SAFE_INTEGER],
    ['/instanceLog/entries/0/seq', 0],
    ['/instanceLog/entries/0/event/instance', 'x'.repeat(128)],
    ['/instanceLog/entries/0/event/container', 'A'.repeat(128)],
    ['/instanceLog/entries/0/event/container', 'a_.-Z9'],
    ['/inventory/scope', 'x'.repeat(4096)],
    ['/inventory/containers/0/container', 'x'.repeat(256)],
    ['/inventory/changed/0/path', '/'.repeat(4096)],
  ];
  test.each(named(accepted))('may have at %s: %s', (pointer, _, value) => {
    expect(readWith(pointer, value)).toHaveProperty('value');
  });

  const refused: readonly (readonly [pointer: string, Json])[] = [
    // Stops another version's fields from being read by this one's rules.
    ['/version', 'kallio-evidence-v2'],
    ['/version', 'KALLIO-EVIDENCE-V1'],
    // Stops evidence for a purpose that nobody has thought about.
    ['/purpose', 'anything'],
    ['/purpose', 'attest '],
    // Stops a name that leaves a folder, a URL's path or a line of a log.
    ...['', '-a', 'a-', '.a', 'a.', 'A', 'a/b', '../a', 'a b', 'a\n', 'a\u0000', 'ä', 'a'.repeat(64)].map(
      (name) => ['/attester', name] as const,
    ),
    // Stops a nonce in a second spelling, which single use by text would let pass twice.
    ['/nonce', 'AB'.repeat(32)],
    ['/nonce', hex64.slice(2)],
    ['/nonce', `${hex64}ab`],
    ['/nonce', `${hex64}\n`],
    ['/nonce', ''],
    // Stops base64 that readers decode differently, and parts that are too long to be what they claim.
    ['/quote/attest', 'QQ==='],
    ['/quote/attest', 'Q=Q='],
    ['/quote/attest', 'Q-_='],
    ['/quote/attest', 'QQ==\n'],
    ['/quote/attest', 'A'.repeat(5465)],
    ['/quote/signature', 'A'.repeat(1369)],
    ['/eventLog', 'A'.repeat(1_398_105)],
    ['/ima/entries', 'A'.repeat(22_369_625)],
    // Stops values of banks that are too weak or unknown, of more banks than are judged, or of PCRs that do not exist.
    ['/pcrs', []],
    ['/pcrs', [bankOf('sha256', hex64), bankOf('sha384', hex64), bankOf('sha256', hex64)]],
    ['/pcrs/0/bank', 'sha1'],
    ['/pcrs/0/bank', 'SHA256'],
    ['/pcrs/0/values', { 24: hex64 }],
    ['/pcrs/0/values', { '07': hex64 }],
    ['/pcrs/0/values', { '': hex64 }],
    ['/pcrs/0/values', { pcr: 5 }],
    ['/pcrs/0/values/0', hex64.toUpperCase()],
    ['/pcrs/0/values/0', hex64.slice(2)],
    ['/pcrs/0/values/0', 'ab'.repeat(64)],
    ['/pcrs/0/values/0', ''],
    ['/instanceLog/entries/0/seq', '7'],
    // Stops a salt or a digest in a second spelling: commitments are over bytes, records are by text.
    ['/instanceLog/entries/0/salt', 'AB'.repeat(32)],
    ['/instanceLog/entries/0/event/image', hex64],
    ['/instanceLog/entries/0/event/image', `sha512:${hex64}`],
    ['/instanceLog/entries/0/event/image', `sha256:${'AB'.repeat(32)}`],
    ['/instanceLog/entries/0/event/config', 'sha256:'],
    ['/instanceLog/entries/0/event/verb', 'run'],
    ['/instanceLog/entries/0/event/instance', ''],
    ['/instanceLog/entries/0/event/instance', 'x'.repeat(129)],
    // Stops a container id that is a path.
    ...['', '.', '..', '../c1', '/c1', 'c/1', '-c1', '_c1', 'c 1', 'c1\n', 'x'.repeat(129)].map(
      (id) => ['/instanceLog/entries/0/event/container', id] as const,
    ),
    ['/inventory/scope', 'x'.repeat(4097)],
    ['/inventory/containers/0/container', ''],
    ['/inventory/containers/0/container', 'x'.repeat(257)],
    ['/inventory/containers/0/processes/0/pid', 0],
    ['/inventory/containers/0/processes/0/pid', 1.5],
    ['/inventory/containers/0/processes/0/sha256', hex64.slice(1)],
    ['/inventory/containers/0/processes/0/executable', 'x'.repeat(4097)],
    ['/inventory/changed/0/path', 'x'.repeat(4097)],
  ];
  test.each(named(refused))('may not have at %s: %s', (pointer, _, value) => {
    expect(read(TEXT)).toEqual(MESSAGE);
    expect(readWith(pointer, value)).toEqual(REFUSED);
  });

  test.each(['/ima/from', '/instanceLog/from', '/instanceLog/entries/0/seq'])(
    'may not have at %s a number without a successor',
    (pointer) => {
      // Stops two entries from standing in one place: 2^53 + 1 is 2^53 to whoever counts on.
      const text = JSON.stringify(put(JSON_MESSAGE, pathOf(pointer), '@'));
      expect(read(text.replace('"@"', '9007199254740991.0'))).toBeDefined();
      for (const number of ['9007199254740992.0', '9.007199254740992e15', '1e300'])
        expect(outcome(() => read(text.replace('"@"', number)))).toEqual(REFUSED);
    },
  );

  const lists: readonly [pointer: string, most: number][] = [
    ['/instanceLog/entries', 10_000],
    ['/inventory/containers', 1024],
    ['/inventory/containers/0/processes', 4096],
    ['/inventory/changed', 1024],
  ];
  test.each(lists)('may have at %s so many items and no more: %d', (pointer, most) => {
    // Stops a list without end from taking the verifier's time.
    const [item] = [...places(JSON_MESSAGE)].flatMap(([path, value]) =>
      `/${path.join('/')}` === `${pointer}/0` ? [value] : [],
    );
    if (item === undefined) throw new Error(`nothing at ${pointer}/0`);
    expect(readWith(pointer, new Array<Json>(most).fill(item))).toHaveProperty('value');
    expect(readWith(pointer, new Array<Json>(most + 1).fill(item))).toEqual(REFUSED);
  });

  test('says where it is refused', () => {
    expect(() => read(TEXT.replace('"sha256"', '"sha1"'))).toThrow(
      expect.objectContaining({ pointer: '/pcrs/0/bank' }),
    );
  });
});

function bankOf(bank: string, value: string): Json {
  return { bank, values: { 0: value } };
}

/** Cases with the beginning of their value as text. */
function named(cases: readonly (readonly [pointer: string, Json])[]): [string, string, Json][] {
  return cases.map(([pointer, value]) => [pointer, JSON.stringify(value).slice(0, 40), value]);
}
