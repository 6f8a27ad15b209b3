import { decodeShape, KallioError, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import type { Answer } from './http/connection.ts';
import { collect } from './source.ts';

const MAX_ANSWER = 16 * 1024;
/** Most of what a registry says that is told on: refusals, and characters of each. */
const MAX_SAID = 3;
const MAX_WORDS = 200;

const RegistryRefusal = Type.Object({
  code: Type.String({ pattern: '^[A-Z][A-Z0-9_]{0,63}$' }),
  message: Type.Optional(Type.String()),
});

/** What a registry says is wrong (distribution specification 1.1, "Error Codes"). */
export type RegistryRefusal = Static<typeof RegistryRefusal>;

const Refused = Type.Object({ errors: Type.Array(RegistryRefusal) });

/** What a registry says is wrong; nothing where it says so otherwise. Reads the answer. */
export async function refusalsOf(answer: Answer): Promise<readonly RegistryRefusal[]> {
  try {
    return decodeShape(Refused, parseJson(await collect(answer.body, MAX_ANSWER, 'A refusal'))).errors;
  } catch (error) {
    // A page of whatever stands before the registry; or it broke off. What it answered stays what it is.
    if (error instanceof KallioError) return [];
    throw error;
  }
}

/** In a few words, of which the codes are the specification's and the rest the registry's own. */
export function wordsOf(refusals: readonly RegistryRefusal[]): string {
  return refusals
    .slice(0, MAX_SAID)
    .map(({ code, message }) => (message === undefined ? code : `${code} (${message.slice(0, MAX_WORDS)})`))
    .join(', ');
}
