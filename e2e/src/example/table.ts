import { fromUtf8, type Json, parseJson } from '@kallio/codec';

/** Longest value that is shown whole. */
const MAX_SHOWN = 40;

/** One field of the example: where it stands, and its value as the table shows it. */
export interface Field {
  readonly path: string;
  readonly value: string;
}

/** Every field of a bundle, of the log entry and the statement in it, and of the result in that. */
export function fieldsOf(bundle: Uint8Array): Field[] {
  const document = parseJson(bundle);
  const leaf = inBase64(document, ['verificationMaterial', 'tlogEntries', '0', 'canonicalizedBody']);
  const statement = inBase64(document, ['dsseEnvelope', 'payload']);
  const ear = textAt(statement, ['predicate', 'buildEnvironment', 'ear']);
  const [header = '', claims = ''] = ear
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString('utf8'));
  return [
    ...flat('bundle', document),
    ...flat('leaf', leaf),
    ...flat('statement', statement),
    ...flat('result/header', parseJson(header)),
    ...flat('result', parseJson(claims)),
  ];
}

/** The rows of the table below a heading: path, value, meaning. */
export function rowsBelow(markdown: string, heading: string): (readonly [string, string, string])[] {
  const from = markdown.indexOf(`\n${heading}\n`);
  const end = markdown.indexOf('\n## ', from + 1);
  const section = from === -1 ? '' : markdown.slice(from, end === -1 ? undefined : end);
  return [...section.matchAll(/^\| `([^`]+)` +\| `([^`]*)` +\| (.*?) *\|$/gm)].map(
    ([, path = '', value = '', meaning = '']) => [path, value, meaning] as const,
  );
}

/** The document with the values of these fields in that table; a field without a meaning yet is left to be given one. */
export function withValues(markdown: string, heading: string, fields: readonly Field[]): string {
  const known = new Map(rowsBelow(markdown, heading).map(([path, , meaning]) => [path, meaning]));
  const rows = fields.map(({ path, value }) => `| \`${path}\` | \`${value}\` | ${known.get(path) ?? ''} |`);
  const from = markdown.indexOf(`\n${heading}\n`);
  const table = /(\n\| -+ \|[-| ]*\n)(?:\|.*\n)*/;
  const section = markdown.slice(from).replace(table, (_, head: string) => `${head}${rows.join('\n')}\n`);
  return markdown.slice(0, from) + section;
}

function flat(path: string, value: Json): Field[] {
  if (typeof value !== 'object' || value === null) return [{ path, value: shown(value) }];
  const members = Object.entries(value);
  if (members.length === 0) return [{ path, value: JSON.stringify(value) }];
  return members.flatMap(([name, member]) => flat(`${path}/${name.replaceAll('/', '~1')}`, member));
}

function shown(value: Json): string {
  const text =
    typeof value === 'string' && value !== '' ? value.replaceAll('\n', '⏎') : JSON.stringify(value);
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN - 8)}…`;
}

function textAt(document: Json, path: readonly string[]): string {
  let value: unknown = document;
  for (const name of path)
    value = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  if (typeof value !== 'string') throw new Error(`there is no text at ${path.join('/')}`);
  return value;
}

function inBase64(document: Json, path: readonly string[]): Json {
  return parseJson(fromUtf8(new Uint8Array(Buffer.from(textAt(document, path), 'base64'))));
}
