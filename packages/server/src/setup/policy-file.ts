import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  type AppraisalPolicy,
  namedSets,
  parsePolicy,
  parseReferenceSet,
  type ReferenceSet,
} from '@kallio/appraisal';
import { type Digest, digestOf, fromUtf8, KallioError, parseDigest, parseJson } from '@kallio/codec';
import type { ServerCode } from '../codes.ts';

const MAX_POLICY = 64 * 1024 * 1024;

/** An appraisal policy with the reference sets that it names. */
export interface PolicyFile {
  readonly policy: AppraisalPolicy;
  readonly sets: ReadonlyMap<Digest, ReferenceSet>;
}

/**
 * Reads a policy and, from the folder `sets` beside it, the reference-set files it names. Anything wrong with any of
 * them is `CONFIG_INVALID`, naming the file.
 */
export function readPolicyFile(path: string): PolicyFile {
  const policy = inFile(path, () =>
    parsePolicy(parseJson(fromUtf8(readFileSync(path)), { maxBytes: MAX_POLICY })),
  );
  return { policy, sets: readSets(policy, dirname(path)) };
}

/** Reads the reference-set files that a policy names from its folder; `CONFIG_INVALID`, naming the file. */
export function readSets(policy: AppraisalPolicy, folder: string): Map<Digest, ReferenceSet> {
  const sets = new Map<Digest, ReferenceSet>();
  for (const { digest: named, bytes } of namedSets(policy)) {
    const digest = parseDigest(named);
    const file = setFile(folder, digest);
    if (!sets.has(digest))
      sets.set(
        digest,
        inFile(file, () => readSet(file, digest, bytes)),
      );
  }
  return sets;
}

/** Where a policy's folder holds the reference-set file of a digest. */
export function setFile(folder: string, digest: Digest): string {
  return join(folder, 'sets', `${digest.slice('sha256:'.length)}.kref`);
}

function readSet(path: string, digest: Digest, bytes: number): ReferenceSet {
  const file = openSync(path, 'r');
  try {
    // Before reading: a file of another size is another file, however large.
    const { size } = fstatSync(file);
    if (size !== bytes) throw invalid(`It has ${size} bytes, and the policy names ${bytes}.`);
    const content = readFileSync(file);
    // Stops reference values from being exchanged under a policy that stays the same.
    if (digestOf(content) !== digest) throw invalid('It is not the file whose digest the policy names.');
    return parseReferenceSet(content);
  } finally {
    closeSync(file);
  }
}

function inFile<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const { pointer, hint } = cause instanceof KallioError ? cause : {};
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KallioError('CONFIG_INVALID' satisfies ServerCode, `${path} can’t be used: ${why}`, {
      pointer,
      hint,
      cause,
    });
  }
}

function invalid(message: string): KallioError<ServerCode> {
  return new KallioError('CONFIG_INVALID', message);
}
