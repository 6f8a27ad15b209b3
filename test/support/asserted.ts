import { parseAst } from 'rolldown/parseAst';

/** A node of a syntax tree (ESTree with TypeScript's additions): what it has beside its type, the grammar says. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/**
 * Texts and numbers that a test file asserts: each stands in what a matcher of `expect` is given (`toBe('CODE')`,
 * `toMatchObject({ code: 'CODE' })`), in what is handed to a function of the file that asserts, or in a table whose every row
 * is asserted (`test.each`, `for … of`). A text that is only there, is asserted not to be, or stands in tests which a clone
 * skips for want of files from elsewhere, is none.
 */
export function assertedTexts(source: string, file: string): ReadonlySet<string> {
  return new Assertions(parseAst(source, { lang: 'ts' }, file) as unknown as Node).texts();
}

class Assertions {
  readonly #root: Node;
  /** By name; of a name that stands twice in a file, all. */
  readonly #values = new Map<string, Node[]>();
  readonly #asserting = new Set<string>();
  readonly #texts = new Set<string>();
  readonly #followed = new Set<Node>();

  constructor(root: Node) {
    this.#root = root;
    for (const node of within(root)) {
      const [name, value] = declared(node);
      if (name !== undefined && value !== undefined)
        this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
    }
    // A function that calls one which asserts, asserts.
    for (let before = -1; before !== this.#asserting.size; ) {
      before = this.#asserting.size;
      for (const [name, values] of this.#values) {
        if (values.some((value) => isFunction(value) && this.#asserts(value))) this.#asserting.add(name);
      }
    }
  }

  texts(): ReadonlySet<string> {
    for (const node of within(this.#root)) {
      if (node.type === 'CallExpression') {
        if (isMatcher(node) || this.#asserting.has(nameOf(node.callee))) this.#take(node.arguments);
        const table = tableOf(node);
        if (table !== undefined && this.#asserts(node.arguments)) this.#take(table);
      }
      if (node.type === 'ForOfStatement' && this.#asserts(node.body)) this.#take(node.right);
    }
    return this.#texts;
  }

  /** Whether somewhere in it something is expected. */
  #asserts(value: unknown): boolean {
    for (const node of within(value)) {
      if (node.type === 'CallExpression' && (isMatcher(node) || this.#asserting.has(nameOf(node.callee))))
        return true;
    }
    return false;
  }

  /** Its texts, and those of the values that it names. */
  #take(value: unknown): void {
    for (const node of within(value)) {
      if (node.type === 'Literal') this.#texts.add(String(node.value));
      if (node.type !== 'Identifier') continue;
      for (const named of this.#values.get(String(node.name)) ?? []) {
        if (isFunction(named) || this.#followed.has(named)) continue;
        this.#followed.add(named);
        this.#take(named);
      }
    }
  }
}

function* within(value: unknown): Generator<Node> {
  if (Array.isArray(value)) {
    for (const one of value) yield* within(one);
    return;
  }
  if (!isNode(value) || isSkippedInAClone(value)) return;
  yield value;
  for (const [field, child] of Object.entries(value)) {
    // The name of a field is no value, unless it is short for one.
    if (field === 'key' && value.type === 'Property' && value.shorthand !== true) continue;
    if (typeof child === 'object') yield* within(child);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

function isFunction({ type }: Node): boolean {
  return /Function/.test(type);
}

function nameOf(value: unknown): string {
  return isNode(value) && value.type === 'Identifier' ? String(value.name) : '';
}

function declared(node: Node): [string?, Node?] {
  if (node.type === 'FunctionDeclaration') return [nameOf(node.id), node];
  if (node.type !== 'VariableDeclarator' || !isNode(node.init)) return [];
  return [nameOf(node.id), node.init];
}

/** `expect(…).toBe(…)`, whatever stands between; not what is expected not to be. */
function isMatcher(node: Node): boolean {
  let at: unknown = node.callee;
  for (let members = 0; isNode(at); ) {
    if (at.type === 'MemberExpression') {
      if (nameOf(at.property) === 'not') return false;
      members++;
      at = at.object;
    } else if (at.type === 'CallExpression') {
      return members > 0 && nameOf(at.callee) === 'expect';
    } else {
      return false;
    }
  }
  return false;
}

/** The table of `test.each(table)(…)`, and of `table.map(…)` and its like. */
function tableOf(node: Node): unknown {
  const { callee } = node;
  if (!isNode(callee)) return undefined;
  if (callee.type === 'CallExpression')
    return propertyOf(callee.callee) === 'each' ? callee.arguments : undefined;
  return /^(?:map|forEach|flatMap)$/.test(propertyOf(callee)) ? callee.object : undefined;
}

function propertyOf(value: unknown): string {
  return isNode(value) && value.type === 'MemberExpression' ? nameOf(value.property) : '';
}

/** `describe.skipIf(…vectors…)(…)`: files that are not of this project, and perhaps not there. */
function isSkippedInAClone(node: Node): boolean {
  if (node.type !== 'CallExpression' || !isNode(node.callee) || node.callee.type !== 'CallExpression')
    return false;
  const skipped = node.callee;
  if (propertyOf(skipped.callee) !== 'skipIf') return false;
  const names = (value: unknown): boolean =>
    Array.isArray(value)
      ? value.some(names)
      : isNode(value) && (nameOf(value) === 'vectors' || Object.values(value).some(names));
  return names(skipped.arguments);
}
