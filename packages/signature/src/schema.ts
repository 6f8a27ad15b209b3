import { Exact, Hex } from '@kallio/codec';
import { Type } from 'typebox';
import { ImageShape } from './claims.ts';
import { BuildEnvironment, FileManifestClaim, PREDICATE_TYPE, STATEMENT_TYPE } from './statement.ts';

/** The image signature's statement as JSON Schema, for those who read it in another language. */
export function statementSchema(): Readonly<Record<string, unknown>> {
  const schema = Exact({
    _type: Type.Literal(STATEMENT_TYPE),
    subject: Type.Array(Exact({ name: Type.String({ minLength: 1 }), digest: Exact({ sha256: Hex(32) }) }), {
      minItems: 1,
      maxItems: 1,
    }),
    predicateType: Type.Literal(PREDICATE_TYPE),
    predicate: Exact({
      image: ImageShape,
      fileManifest: FileManifestClaim,
      buildEnvironment: BuildEnvironment,
    }),
  });
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: PREDICATE_TYPE,
    title: 'Kallio image signature: in-toto Statement v1',
    description:
      'docs/formats.md explains it field by field. A verifier also demands canonical JSON (RFC 8785).',
    ...JSON.parse(JSON.stringify(schema)),
  };
}
