import { AppraisalPolicy } from './schema.ts';

/** The policy's JSON Schema, as it is published in docs/schemas/policy.schema.json. */
export function policySchema(): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://kallio.dev/schemas/policy.schema.json',
    title: 'Kallio appraisal policy, kallio-policy-v1',
    ...AppraisalPolicy,
  };
}
