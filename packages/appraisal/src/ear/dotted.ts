import { canonicalBytes, decodeShape, fromBase64Url, parseJson } from '@kallio/codec';
import { Type } from 'typebox';
import type { EarCode } from './verify.ts';

/** Profile of the older claims, with dots in their names (draft-fv-rats-ear-02, section 3.1; Veraison's libraries). */
const DOTTED_PROFILE = 'tag:github.com,2023:veraison/ear';
const MAX_CLAIMS = 64 * 1024;

const AnyResult = Type.Object({
  eat_profile: Type.String(),
  ear_verifier_id: Type.Unknown(),
  submods: Type.Record(
    Type.String(),
    Type.Object({
      ear_status: Type.String(),
      ear_trustworthiness_vector: Type.Unknown(),
      ear_appraisal_policy_ids: Type.Array(Type.String(), { minItems: 1 }),
    }),
  ),
});

/**
 * The claims (JCS) of a result under their older names, for relying parties that know no others; sign them with
 * `signEar`. Give it a result of this issuer's own: it checks no signature. What is not EAR's own keeps its name.
 */
export function dottedEar(ear: string): Uint8Array {
  const [, payload = ''] = ear.split('.');
  const json = parseJson(fromBase64Url(payload), { maxBytes: MAX_CLAIMS });
  const code: EarCode = 'EAR_MALFORMED';
  const {
    ear_verifier_id,
    submods,
    eat_profile: _,
    ...claims
  } = decodeShape(AnyResult, json, code, 'This result');
  const named = Object.entries(submods).map(([name, submodule]) => {
    const {
      ear_status: status,
      ear_trustworthiness_vector: vector,
      // Of the older names there is one policy.
      ear_appraisal_policy_ids: [policy],
      ...rest
    } = submodule;
    const older = {
      'ear.status': status,
      'ear.trustworthiness-vector': vector,
      'ear.appraisal-policy-id': policy,
    };
    return [name, { ...rest, ...older }] as const;
  });
  return canonicalBytes({
    ...claims,
    eat_profile: DOTTED_PROFILE,
    'ear.verifier-id': ear_verifier_id,
    submods: Object.fromEntries(named),
  });
}
