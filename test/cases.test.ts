import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/* docs/cases.md says of each kind of bad input which code refuses it and which test shows it. This holds it to that. */

const root = join(import.meta.dirname, '..');
const page = readFileSync(join(root, 'docs/cases.md'), 'utf8');

interface Case {
  readonly what: string;
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
      codes: [...codes.matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`/g)].map(([, code = '']) => code),
      tests: [...tests.matchAll(/`([a-z0-9/.-]+)`/g)].map(([, test = '']) => test),
    };
  });

/** The text of what a case names: a test file of a package, or all of an end-to-end scenario. */
function textOf(test: string): string {
  const file = join(root, 'packages', `${test}.test.ts`);
  if (existsSync(file)) return readFileSync(file, 'utf8');
  const folder = join(root, test);
  if (!existsSync(folder)) throw new Error(`there is no ${test}`);
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
}

describe('every case in docs/cases.md', () => {
  it('is there: the page is read as it is meant', () => {
    expect(cases.length).toBeGreaterThan(60);
  });

  for (const { what, codes, tests } of cases) {
    it(`${what}: each code is in a test that is named`, () => {
      const benched = tests.length === 0;
      if (benched) return expect(page).toContain('npm run bench');
      const text = tests.map(textOf).join('\n');
      expect(codes.filter((code) => !new RegExp(`\\b${code}\\b`).test(text))).toEqual([]);
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
