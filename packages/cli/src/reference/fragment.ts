import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AppraisalPolicy, type Reference, type ReferenceSet } from '@kallio/appraisal';
import { type Digest, decodeShape, digestOf, Exact, parseDigest } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { readBounded, readJson, replaceFile } from '../files.ts';
import { type CliCode, cliError } from '../output/output.ts';

/** Where reference values come from. */
const Source = Exact({
  kind: Type.Union([
    Type.Literal('root'),
    Type.Literal('packages'),
    Type.Literal('image'),
    Type.Literal('attester'),
    Type.Literal('boot'),
  ]),
  /** The folder, image or attester as it was named. */
  name: Type.String({ minLength: 1, maxLength: 4096 }),
  /** Digest of the image’s manifest, or of the attestation result that was learnt from. */
  digest: Type.Optional(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })),
  /** `name version`, sorted. */
  packages: Type.Optional(Type.Array(Type.String({ maxLength: 512 }), { maxItems: 100_000 })),
});
export type Source = Static<typeof Source>;

/** Reference values on their way into a policy, with where they are from. */
export const ReferenceFile = Exact({
  references: Type.Literal('kallio-references-v1'),
  sources: Type.Array(Source, { minItems: 1, maxItems: 1024 }),
  /** As in a policy. */
  reference: AppraisalPolicy.properties.reference,
  /** What these values do not cover, in sentences for a person. */
  limits: Type.Array(Type.String({ maxLength: 1024 }), { maxItems: 256 }),
});
export type ReferenceFile = Static<typeof ReferenceFile>;

/** A file of reference values with the sets that it names, by their digest. */
export interface References {
  readonly file: ReferenceFile;
  readonly sets: ReadonlyMap<Digest, Uint8Array>;
}

/** Reads a file of reference values, and the sets beside it. */
export function readReferences(path: string): References {
  const code: CliCode = 'CLI_REFERENCE';
  const file = decodeShape(ReferenceFile, readJson(path), code, `The file ${path}`);
  const sets = new Map<Digest, Uint8Array>();
  for (const { digest: named, bytes } of setsOf(file.reference)) {
    const digest = parseDigest(named);
    const from = setPath(dirname(path), digest);
    const content = readBounded(from, bytes);
    // Stops other values from being merged under the name of these.
    if (digestOf(content) !== digest) {
      throw cliError(code, `${from} is not the file whose digest ${path} names.`, 'Scan again.');
    }
    sets.set(digest, content);
  }
  return { file, sets };
}

/** Writes a document and the sets that it names: the sets first, so that no document is without them. */
export function writeWithSets(path: string, document: object, sets: ReadonlyMap<Digest, Uint8Array>): void {
  if (sets.size > 0) mkdirSync(join(dirname(path), 'sets'), { recursive: true });
  for (const [digest, bytes] of sets) replaceFile(setPath(dirname(path), digest), bytes);
  replaceFile(path, Buffer.from(`${JSON.stringify(document, null, 2)}\n`));
}

/** The bytes of sets. */
export function setBytes(sets: ReadonlyMap<Digest, ReferenceSet>): Map<Digest, Uint8Array> {
  return new Map([...sets].map(([digest, set]) => [digest, set.toBytes()]));
}

/** Where a policy and a file of reference values look for a set. */
function setPath(folder: string, digest: Digest): string {
  return join(folder, 'sets', `${digest.slice('sha256:'.length)}.kref`);
}

function setsOf(reference: Reference) {
  return (reference.ima?.classes ?? []).flatMap(({ sets = [] }) => sets);
}
