import { expect } from 'vitest';
import type { CodecCode } from '../src/index.ts';

/** For `toThrow`: a refusal with this code, and where one is given, with this pointer. */
export function code(expected: CodecCode, pointer?: string): unknown {
  return expect.objectContaining({
    name: 'KallioError',
    code: expected,
    ...(pointer === undefined ? {} : { pointer }),
  });
}
