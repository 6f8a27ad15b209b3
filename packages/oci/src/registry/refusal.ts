import { decodeShape, KallioError, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { ociError } from '../error.ts';
import type { Answer } from '../http/connection.ts';
import { loginHint } from '../login/hint.ts';
import { collect } from '../source.ts';

const MAX_ANSWER = 16 * 1024;
/** Most of what a registry says that is told on: refusals, and characters of each. */
const MAX_SAID = 3;
const MAX_WORDS = 200;

/** The specification's codes, and docker-registry's: they repeat nothing, whatever was said to who gives them. */
const CODES: ReadonlySet<string> = new Set([
  ...['BLOB_UNKNOWN', 'BLOB_UPLOAD_INVALID', 'BLOB_UPLOAD_UNKNOWN', 'DIGEST_INVALID'],
  ...['MANIFEST_BLOB_UNKNOWN', 'MANIFEST_INVALID', 'MANIFEST_UNKNOWN', 'NAME_INVALID', 'NAME_UNKNOWN'],
  ...['SIZE_INVALID', 'UNAUTHORIZED', 'DENIED', 'UNSUPPORTED', 'TOOMANYREQUESTS'],
  ...['MANIFEST_UNVERIFIED', 'TAG_INVALID', 'UNAVAILABLE', 'UNKNOWN'],
]);
const LEFT_OUT = 'left out: it may repeat a credential';

const RegistryRefusal = Type.Object({
  code: Type.String({ pattern: '^[A-Z][A-Z0-9_]{0,63}$' }),
  message: Type.Optional(Type.String()),
});

/** What a registry says is wrong (distribution specification 1.1, "Error Codes"). */
export type RegistryRefusal = Static<typeof RegistryRefusal>;

const Refused = Type.Object({ errors: Type.Array(RegistryRefusal) });

/** Who was asked. */
export interface Asked {
  readonly registry: string;
  readonly repository: string;
  /** A registry's words without the credentials that it was shown; undefined where they are better not told. */
  without(text: string): string | undefined;
}

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

/** What a registry answered when it was asked to do `what`, and did not. Reads the answer. */
export async function failure(asked: Asked, what: string, answer: Answer): Promise<Error> {
  return refused(asked, what, answer.status, await refusalsOf(answer));
}

/** What a registry would not do, in its own words as well. */
export function refused(
  asked: Asked,
  what: string,
  status: number,
  refusals: readonly RegistryRefusal[],
): Error {
  const words = refusals.length === 0 ? '' : `: ${wordsOf(asked, refusals)}`;
  if (status === 401 || status === 403) return denied(asked, status, words);
  return ociError(
    'OCI_REGISTRY',
    `The registry ${asked.registry} answered ${status} when asked to ${what}${words}.`,
  );
}

/** A registry lets others do this, or nobody. */
export function denied({ registry, repository }: Asked, status: number, words = ''): Error {
  return ociError(
    'OCI_DENIED',
    `The registry ${registry} does not let this be done in ${repository} (${status})${words}.`,
    { hint: loginHint(registry) },
  );
}

/** Nobody answers: the registry, or the host that it leads to. */
export function unreachable(asked: Asked, cause: unknown, ledTo: string | undefined): Error {
  // Attack: led to a host whose name is what the registry was shown. The cause may say it too.
  const unsaid = ledTo !== undefined && asked.without(ledTo) !== ledTo;
  const led = ledTo === undefined ? '' : ` leads to ${unsaid ? 'another host' : ledTo}, which`;
  return ociError('OCI_UNREACHABLE', `The registry ${asked.registry}${led} does not answer${whyOf(cause)}.`, {
    hint: 'Is its address right, and does it speak TLS (plain HTTP is used on this machine only)?',
    cause: unsaid ? undefined : cause,
  });
}

/** In a few words, of which the codes are the specification's and the rest the registry's own. */
function wordsOf(asked: Asked, refusals: readonly RegistryRefusal[]): string {
  return refusals
    .slice(0, MAX_SAID)
    .map(({ code, message }) => {
      if (!CODES.has(code) && asked.without(code) !== code) return `a refusal (${LEFT_OUT})`;
      if (message === undefined) return code;
      // Before it is cut: what is left of a credential would be none any more.
      return `${code} (${asked.without(message)?.slice(0, MAX_WORDS) ?? LEFT_OUT})`;
    })
    .join(', ');
}

/** In a word what went wrong (`ENOTFOUND`, `CERT_HAS_EXPIRED`), or in a few. */
function whyOf(cause: unknown): string {
  if (!(cause instanceof Error)) return '';
  return ` (${'code' in cause ? String(cause.code) : cause.message})`;
}
