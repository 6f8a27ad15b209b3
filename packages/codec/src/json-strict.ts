import { KallioError } from './error.ts';

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The value of a text, read by the rules of `parseJson`; `JSON_…` says where it breaks one. */
export function parseStrictly(text: string, maxDepth: number): Json {
  return new Parser(text, maxDepth).document();
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// A string's plain run: no quote, no backslash, no control character.
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them raw inside strings (RFC 8259 section 7).
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPES = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  document(): Json {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.#text.length) this.#fail('Something follows the JSON value');
    return value;
  }

  #fail(what: string): never {
    throw new KallioError('JSON_SYNTAX', `${what} at character ${this.#at}.`, {
      pointer: `character ${this.#at}`,
    });
  }

  #space(): void {
    for (;;) {
      const c = this.#text.charCodeAt(this.#at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.#at++;
    }
  }

  #expect(literal: string): void {
    if (!this.#text.startsWith(literal, this.#at)) this.#fail(`Expected ${literal}`);
    this.#at += literal.length;
  }

  #value(depth: number): Json {
    if (depth > this.#maxDepth) {
      throw new KallioError('JSON_TOO_DEEP', `This JSON text nests deeper than ${this.#maxDepth}.`, {
        pointer: `character ${this.#at}`,
      });
    }
    this.#space();
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      case 't':
        this.#expect('true');
        return true;
      case 'f':
        this.#expect('false');
        return false;
      case 'n':
        this.#expect('null');
        return null;
      default:
        return this.#number();
    }
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) this.#fail('Expected a JSON value');
    const text = match[0];
    const value = Number(text);
    const integral = !/[.eE]/.test(text);
    if (!Number.isFinite(value) || (integral && !Number.isSafeInteger(value))) {
      this.#fail('A number that a double cannot hold exactly');
    }
    this.#at += text.length;
    return value;
  }

  #string(): string {
    this.#at++;
    let out = '';
    for (;;) {
      PLAIN.lastIndex = this.#at;
      const run = PLAIN.exec(this.#text)?.[0] ?? '';
      out += run;
      this.#at += run.length;
      const c = this.#text[this.#at];
      if (c === '"') {
        this.#at++;
        if (!out.isWellFormed()) this.#fail('A string with a lone surrogate ends');
        return out;
      }
      if (c !== '\\') this.#fail('Expected the end of a string');
      out += this.#escape();
    }
  }

  #escape(): string {
    const c = this.#text[this.#at + 1] ?? '';
    if (c === 'u') {
      const hex = this.#text.slice(this.#at + 2, this.#at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(hex)) this.#fail('A bad \\u escape');
      this.#at += 6;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    const plain = ESCAPES.get(c);
    if (plain === undefined) this.#fail('An unknown escape');
    this.#at += 2;
    return plain;
  }

  #array(depth: number): Json[] {
    this.#at++;
    const out: Json[] = [];
    this.#space();
    if (this.#text[this.#at] === ']') {
      this.#at++;
      return out;
    }
    for (;;) {
      out.push(this.#value(depth + 1));
      this.#space();
      const c = this.#text[this.#at];
      if (c !== ',' && c !== ']') this.#fail('Expected "," or "]"');
      this.#at++;
      if (c === ']') return out;
    }
  }

  #object(depth: number): { [key: string]: Json } {
    this.#at++;
    const out: { [key: string]: Json } = Object.create(null);
    this.#space();
    if (this.#text[this.#at] === '}') {
      this.#at++;
      return out;
    }
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') this.#fail('Expected a key');
      const at = this.#at;
      const key = this.#string();
      if (key in out) {
        throw new KallioError(
          'JSON_DUPLICATE_KEY',
          `The key ${JSON.stringify(key)} stands twice in one object.`,
          { pointer: `character ${at}` },
        );
      }
      this.#space();
      this.#expect(':');
      out[key] = this.#value(depth + 1);
      this.#space();
      const c = this.#text[this.#at];
      if (c !== ',' && c !== '}') this.#fail('Expected "," or "}"');
      this.#at++;
      if (c === '}') return out;
    }
  }
}
