import { canonicalBytes, digestOf, fromUtf8, type Json, parseJson, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { buildProvenance, buildStatement, isProvenance, PROVENANCE_TYPE } from '../src/index.ts';
import { claimsOf, manifestDigest } from './support/honest.ts';

const run = {
  issuer: 'https://kallio.example',
  builder: 'build-1',
  session: 'session-0001',
  startedOn: '2026-11-26T08:00:00.000Z',
  finishedOn: '2026-11-26T08:01:00.000Z',
  evidence: [digestOf(utf8('opening')), digestOf(utf8('closing'))],
};
const made = buildProvenance(claimsOf(), run);

/** The provenance with a member of this path set, or taken away. */
function changed(path: readonly string[], value?: Json): Uint8Array {
  const document = JSON.parse(fromUtf8(made));
  let at = document;
  for (const name of path.slice(0, -1)) at = at[name];
  const last = path.at(-1) ?? '';
  if (value === undefined) delete at[last];
  else at[last] = value;
  return canonicalBytes(document);
}

describe('SLSA provenance', () => {
  test('says of the build what its session says', () => {
    const hex = (digest: string) => ({ sha256: digest.slice('sha256:'.length) });
    expect(parseJson(made)).toEqual({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'registry.example/shop/api', digest: hex(manifestDigest) }],
      predicateType: 'https://slsa.dev/provenance/v1',
      predicate: {
        buildDefinition: {
          buildType: 'https://kallio.dev/attested-build/v1',
          externalParameters: { image: 'registry.example/shop/api' },
          internalParameters: { builder: 'build-1' },
        },
        runDetails: {
          builder: { id: 'https://kallio.example/builders/build-1' },
          metadata: {
            invocationId: 'session-0001',
            startedOn: '2026-11-26T08:00:00.000Z',
            finishedOn: '2026-11-26T08:01:00.000Z',
          },
          byproducts: run.evidence.map((digest, i) => ({ name: `evidence-${i + 1}`, digest: hex(digest) })),
        },
      },
    });
    expect(made).toEqual(canonicalBytes(parseJson(made)));
  });

  test('is known by its predicate type, and an image signature is none', () => {
    expect(isProvenance(made)).toBe(true);
    const environment = {
      session: run.session,
      builder: run.builder,
      tier: 'C' as const,
      boot: 1,
      ear: 'a.b.c',
      akCertification: { ak: 'AA==', key: 'AA==', certification: { attest: 'AA==', signature: 'AA==' } },
      evidence: run.evidence,
    };
    expect(isProvenance(buildStatement(claimsOf(), environment))).toBe(false);
    expect(isProvenance(changed(['predicateType'], 'https://slsa.dev/provenance/v0.2'))).toBe(false);
    expect(isProvenance(utf8('[]'))).toBe(false);
  });

  const details = ['predicate', 'runDetails'];
  const definition = ['predicate', 'buildDefinition'];
  test.each<[string, string[], Json | undefined]>([
    ['another statement type', ['_type'], 'https://in-toto.io/Statement/v0.1'],
    ['no subject', ['subject'], []],
    ['a subject without a digest', ['subject'], [{ name: 'app', digest: {} }]],
    ['a digest in upper case', ['subject'], [{ name: 'app', digest: { sha256: 'AB'.repeat(32) } }]],
    ['a second digest', ['subject'], [{ name: 'app', digest: { sha256: 'ab'.repeat(32), sha1: '00' } }]],
    ['a field nobody knows', ['predicate', 'also'], 1],
    ['another kind of build', [...definition, 'buildType'], 'https://example.org/v1'],
    ['parameters that nobody checks', [...definition, 'externalParameters'], { image: 'a', source: 'b' }],
    ['dependencies that nobody resolved', [...definition, 'resolvedDependencies'], []],
    ['no builder', [...details, 'builder'], undefined],
    ['a session that can be none', [...details, 'metadata', 'invocationId'], '../1'],
    ['no times', [...details, 'metadata', 'startedOn'], undefined],
    ['evidence without a digest', [...details, 'byproducts'], [{ name: 'evidence-1' }]],
  ])('is refused with %s', (_, path, value) => {
    expect(isProvenance(made)).toBe(true);
    expect(() => isProvenance(changed(path, value))).toThrow(
      expect.objectContaining({ code: 'STATEMENT_SHAPE' }),
    );
  });

  test('is refused where it is not canonical, or no JSON', () => {
    const spaced = utf8(JSON.stringify(JSON.parse(fromUtf8(made)), null, 1));
    expect(fromUtf8(spaced)).toContain(PROVENANCE_TYPE);
    expect(() => isProvenance(spaced)).toThrow(expect.objectContaining({ code: 'STATEMENT_NOT_CANONICAL' }));
    const twice = utf8(fromUtf8(made).replace('{"_type"', '{"_type":"x","_type"'));
    expect(() => isProvenance(twice)).toThrow(expect.objectContaining({ code: 'JSON_DUPLICATE_KEY' }));
    expect(() => isProvenance(made.subarray(1))).toThrow(expect.objectContaining({ code: 'JSON_SYNTAX' }));
  });
});
