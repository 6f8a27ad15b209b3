import { KallioError } from '@kallio/codec';
import { expect } from 'vitest';
import type { EvidenceCode } from '../../src/index.ts';

/** For `toThrow`: a refusal with this code, and where one is given, with this pointer. */
export function code(expected: EvidenceCode, pointer?: string): unknown {
  return expect.objectContaining({
    name: 'KallioError',
    code: expected,
    ...(pointer === undefined ? {} : { pointer }),
  });
}

/** What `make` comes to, or the code it is refused with. An error that is no refusal is a fault and goes on up. */
export function outcome<T>(make: () => T): { readonly value: T } | { readonly code: string } {
  try {
    return { value: make() };
  } catch (error) {
    if (error instanceof KallioError) return { code: error.code };
    throw error;
  }
}
