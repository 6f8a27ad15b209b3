import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assertedTexts } from './support/asserted.ts';

/*
 * docs/cases.md says of each kind of bad input which code refuses it and which test shows it. This holds it to that: the code
 * must be what the test expects, not only somewhere in its text.
 */

const root = join(import.meta.dirname, '..');
const page = readFileSync(join(root, 'docs/cases.md'), 'utf8');

interface Case {
  readonly what: string;
  /** The codes' cell as it is written. */
  readonly said: string;
  readonly codes: readonly string[];
  readonly tests: readonly string[];
}

const cases: readonly Case[] = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (?:case|-+) /.test(line))
  .map((line) => {
    const [what = '', codes = '', tests = ''] = line
      .slice(1)
      .split(' |')
      .map((cell) => cell.trim());
    return {
      what,
      said: codes,
      codes: [...codes.matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|\d{3})`/g)].map(([, code = '']) => code),
      tests: [...tests.matchAll(/`([a-z0-9/.-]+)`/g)].map(([, test = '']) => test),
    };
  });

/** The test files that a case names: one of a package, or all of an end-to-end scenario. */
function filesOf(test: string): string[] {
  const file = join(root, 'packages', `${test}.test.ts`);
  if (existsSync(file)) return [file];
  const folder = join(root, test);
  if (!existsSync(folder)) throw new Error(`there is no ${test}`);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(folder, name));
}

const asserted = new Map<string, ReadonlySet<string>>();

/** What a test that a case names asserts: see {@link assertedTexts}. */
function assertedIn(test: string): ReadonlySet<string> {
  const known = asserted.get(test);
  if (known !== undefined) return known;
  const texts = filesOf(test).flatMap((file) => [...assertedTexts(readFileSync(file, 'utf8'), file)]);
  const made = new Set(texts);
  asserted.set(test, made);
  return made;
}

describe('what a test asserts', () => {
  const found = (source: string) => [...assertedTexts(source, 'made-up.test.ts')].sort();

  it('is what it expects, itself, by name, in a function or in a table', () => {
    expect(found(`expect(f()).toBe('A')`)).toEqual(['A']);
    expect(found(`await expect(f()).rejects.toThrow(expect.objectContaining({ code: 'A' }))`)).toEqual(['A']);
    expect(found(`const code = 'A'; expect(f()).toMatchObject({ refusal: { code } })`)).toEqual(['A']);
    expect(found(`function refused(c: string) { expect(f()).toBe(c); } refused('A')`)).toEqual(['A']);
    expect(found(`for (const [n, c] of [['n', 'A']]) it(n, () => expect(f()).toBe(c))`)).toEqual(['A', 'n']);
    expect(found(`const t = [['A']]; test.each(t)('%s', (c) => { expect(f()).toBe(c) })`)).toEqual(['A']);
  });

  it('is not what it only names, expects not to be, or skips in a clone', () => {
    expect(found(`// 'A'\nconst a = 'A'; throw new Error('A')`)).toEqual([]);
    expect(found(`expect(f('A')).toBe(1)`)).toEqual(['1']);
    expect(found(`expect(f()).not.toBe('A')`)).toEqual([]);
    expect(found(`const t = [['A']]; test.each(t)('%s', () => f())`)).toEqual([]);
    expect(found(`it('A', () => expect(f()).toEqual({ A: 1 }))`)).toEqual(['1']);
    const body = `(() => { expect(f()).toBe('A') })`;
    expect(found(`describe.skipIf(!existsSync(vectors))('x', ${body})`)).toEqual([]);
    expect(found(`describe.skipIf(!hasRegistry)('x', ${body})`)).toEqual(['A']);
  });
});

describe('every case in docs/cases.md', () => {
  it('is there: the page is read as it is meant', () => {
    expect(cases.length).toBeGreaterThan(60);
  });

  for (const { what, said, codes, tests } of cases) {
    it(`${what}: each code is asserted by a test that is named, and each test asserts one`, () => {
      expect(tests).not.toEqual([]);
      const texts = tests.map((test) => ({ test, texts: assertedIn(test) }));
      // No code is a thing to say, and to give the reason of.
      if (codes.length === 0) return expect(said).toMatch(/^none: \S/);
      expect(codes.filter((code) => !texts.some(({ texts }) => texts.has(code)))).toEqual([]);
      const idle = texts.filter(({ texts }) => !codes.some((code) => texts.has(code)));
      expect(idle.map(({ test }) => test)).toEqual([]);
    });
  }

  it('is on the page: no code of the signature or of a session is left out', () => {
    const declared = ['packages/signature/src/error.ts', 'packages/server/src/codes.ts'].flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map(
        ([, code = '']) => code,
      ),
    );
    const ours = declared.filter(
      (code) =>
        !/^(?:CONFIG|SERVER|RESULT|ENROL|ATTESTER|NONCE|EVIDENCE|POLICY_MISSING|POLICY_SET|TLS|PLATFORM|REFERENCE|IMAGE_UNKNOWN|FILE_MANIFEST_MISMATCH|WEBHOOK|TOKEN)/.test(
          code,
        ),
    );
    expect(ours.length).toBeGreaterThan(60);
    const shown = new Set(cases.flatMap(({ codes }) => codes));
    expect(ours.filter((code) => !shown.has(code))).toEqual([]);
  });
});
