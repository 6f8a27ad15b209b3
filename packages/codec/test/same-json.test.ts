import fc from 'fast-check';
import { expect, it } from 'vitest';
import { canonicalize, sameJson } from '../src/index.ts';
import { anyValue } from './any.ts';

it('takes for the same what has the same canonical form', () => {
  const seen = { same: 0, different: 0 };
  fc.assert(
    fc.property(anyValue, anyValue, (a, b) => {
      const same = canonicalize(a) === canonicalize(b);
      seen[same ? 'same' : 'different']++;
      expect(sameJson(a, b)).toBe(same);
      expect(sameJson(a, JSON.parse(canonicalize(a)))).toBe(true);
    }),
    { numRuns: 3000 },
  );
  expect(Math.min(seen.same, seen.different)).toBeGreaterThan(20);
});

it('counts no member that is undefined, and none that is inherited', () => {
  expect(sameJson({ a: 1, b: undefined }, { a: 1 })).toBe(true);
  expect(sameJson({ a: 1 }, { a: 1, b: undefined })).toBe(true);
  expect(sameJson({ a: 1, b: undefined }, { a: 1, b: null })).toBe(false);
  expect(sameJson({ a: undefined }, { b: undefined })).toBe(true);
  expect(sameJson({ toString: undefined }, {})).toBe(true);
  expect(sameJson({ a: Object.prototype.toString }, { a: 1 })).toBe(false);
  expect(sameJson({ a: 1, b: 2 }, { b: 2, a: 1 })).toBe(true);
  expect(sameJson([1, 2], [2, 1])).toBe(false);
  expect(sameJson([], {})).toBe(false);
  expect(sameJson({ 0: 1, length: 1 }, [1])).toBe(false);
});
