import type { Random } from './random.ts';

/** What may stand anywhere in JSON, and mostly should not. */
const VALUES: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1,
    0.5,
    1e308,
    2 ** 53,
    -(2 ** 31),
    '',
    'x',
    ' ',
    '\u0000',
    '\ud800',
    '\u202e',
    'é',
  ],
  ...[
    '../../etc/passwd',
    '/',
    'sha256:',
    '__proto__',
    'constructor',
    '0'.repeat(64),
    'A'.repeat(5000),
    'AA==',
    '-',
  ],
  ...[[], {}, [[[[[[[[[[]]]]]]]]]], [null], { '': 0 }],
];
const NAMES: readonly string[] = ['__proto__', 'constructor', 'toString', '', 'x', 'length', '~/', '\u0000'];

/** Places in a document: each can be changed. */
interface Place {
  readonly holder: Record<string, unknown>;
  readonly name: string;
}

/** A changed copy of what is JSON, or undefined for what is none; also of JSON that stands in it as base64. */
export function mutateJson(random: Random, input: Uint8Array): Uint8Array | undefined {
  const document = parsed(Buffer.from(input).toString('utf8'));
  if (document === undefined) return undefined;
  const root: Record<string, unknown> = { document };
  for (let times = 1 + random.below(3); times > 0 && root.document !== undefined; times--)
    change(random, root);
  const text = JSON.stringify(root.document) ?? 'null';
  return Buffer.from(random.oneIn(8) ? spelledOtherwise(random, text) : text);
}

function parsed(text: string): unknown {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null ? document : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function change(random: Random, root: Record<string, unknown>): void {
  const places: Place[] = [];
  collect(root, places);
  const { holder, name } = random.of(places);
  const value = holder[name];
  const inside = typeof value === 'string' && random.oneIn(2) ? changedInside(random, value) : undefined;
  if (inside !== undefined) holder[name] = inside;
  else random.of(CHANGES)(random, holder, name, places);
}

function collect(holder: object, places: Place[]): void {
  for (const [name, value] of Object.entries(holder)) {
    places.push({ holder: holder as Record<string, unknown>, name });
    if (typeof value === 'object' && value !== null) collect(value, places);
  }
}

/** What a text carries as base64, changed in there; the text itself with one letter changed, now and then. */
function changedInside(random: Random, text: string): string | undefined {
  for (const form of ['base64', 'base64url'] as const) {
    const bytes = Buffer.from(text, form);
    if (bytes.length < 8 || bytes.toString(form) !== text) continue;
    const document = mutateJson(random, bytes);
    if (document !== undefined) return Buffer.from(document).toString(form);
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    return bytes.toString(form);
  }
  return undefined;
}

type Change = (
  random: Random,
  holder: Record<string, unknown>,
  name: string,
  places: readonly Place[],
) => void;

const CHANGES: readonly Change[] = [
  function another(random, holder, name) {
    holder[name] = structuredClone(random.of(VALUES));
  },
  function leftOut(_, holder, name) {
    if (Array.isArray(holder)) holder.splice(Number(name), 1);
    else delete holder[name];
  },
  function ofAnotherPlace(random, holder, name, places) {
    const from = random.of(places);
    holder[name] = structuredClone(from.holder[from.name]);
  },
  function twice(random, holder, name) {
    if (Array.isArray(holder)) holder.splice(Number(name), 0, structuredClone(holder[Number(name)]));
    else holder[random.of(NAMES)] = structuredClone(holder[name]);
  },
  function letter(random, holder, name) {
    const value = holder[name];
    if (typeof value === 'number') holder[name] = value + random.of([1, -1, 2 ** 31, 0.5]);
    if (typeof value !== 'string' || value === '') return;
    const at = random.below(value.length);
    holder[name] =
      value.slice(0, at) + random.of(['', '0', 'f', 'F', '=', '.', '/', '\n', 'a']) + value.slice(at + 1);
  },
];

/** The same document in other bytes, or nearly: what stands in JSON twice, escaped, or with space. */
function spelledOtherwise(random: Random, text: string): string {
  const comma = text.indexOf(',', random.below(text.length));
  const ways: readonly (() => string)[] = [
    () => JSON.stringify(JSON.parse(text), null, 1),
    () => text.replace(/"([a-z])/, (_, letter: string) => `"\\u00${letter.charCodeAt(0).toString(16)}`),
    () => (text.startsWith('{') ? text.replace('{', '{"x":1,"x":2,') : text),
    () => `${text} `,
    () => `\ufeff${text}`,
    () => (comma < 0 ? text : `${text.slice(0, comma)} ,${text.slice(comma + 1)}`),
    () => text.replace(/:(\d+)/, ':$1.0'),
    () => text.replace(/:(\d+)/, ':0$1'),
  ];
  return random.of(ways)();
}
