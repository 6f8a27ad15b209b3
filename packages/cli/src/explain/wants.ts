import type { ImagePolicy, Step } from '@kallio/signature';

/** One rule of an image policy: its place there, what it wants, and how it came out. */
export interface Want {
  readonly rule: string;
  readonly wants: string;
  /** Absent where the verification ended before. */
  readonly held?: boolean;
}

/** Every rule that a policy names, and how each came out: by the last step, and the pointer and code of its refusal. */
export function wantsOf(
  policy: ImagePolicy,
  steps: readonly Step[],
  refused?: { readonly code: string },
): Want[] {
  const { require = {}, witnesses, signingKeys, appraisalPolicies, revoked, platform } = policy;
  // An index has no image for it, or there is one that is for another.
  const platformStep = refused?.code === 'OCI_PLATFORM' ? 'image' : 'image-config';
  const rules: (readonly [string, string, Step['step'], RegExp])[] = [
    ['logs', `logged in ${policy.logs.map(({ origin }) => origin).join(' or ')}`, 'log-proof', /^LOG_/],
    ['issuer', `a session’s result by ${policy.issuer}`, 'result', /^EAR_/],
    ['builders', `built on ${policy.builders.join(' or ')}`, 'policy', /^POLICY_BUILDER$/],
    ['tiers', `of tier ${policy.tiers.join(' or ')}`, 'policy', /^POLICY_TIER$/],
    ...maybe(signingKeys, (keys) => [
      'signingKeys',
      `signed by ${some(keys)}`,
      'policy',
      /^POLICY_SIGNING_KEY$/,
    ]),
    ...maybe(appraisalPolicies, (ids) => [
      'appraisalPolicies',
      `judged by ${some(ids)}`,
      'policy',
      /^POLICY_APPRAISAL$/,
    ]),
    ...maybe(policy.maxAgeSeconds, (s) => [
      'maxAgeSeconds',
      `logged in the last ${s} s`,
      'policy',
      /^POLICY_AGE$/,
    ]),
    ...maybe(policy.maxResultAgeSeconds, (s) => [
      'maxResultAgeSeconds',
      `logged within ${s} s of its result`,
      'policy',
      /^POLICY_RESULT_AGE$/,
    ]),
    ...maybe(platform, (name) => ['platform', `for ${name}`, platformStep, /PLATFORM$/]),
    ...maybe(require.names, (names) => [
      'require.names',
      `built as ${some(names)}`,
      'claims',
      /^CLAIM_NAME$/,
    ]),
    ...maybe(require.labels, (labels) => [
      'require.labels',
      `labelled ${some(Object.keys(labels))}`,
      'claims',
      /^CLAIM_LABEL$/,
    ]),
    ...maybe(require.bases, (bases) => [
      'require.bases',
      `on ${some(bases.map(({ name }) => name))}`,
      'claims',
      /^CLAIM_BASE$/,
    ]),
    ...maybe(require.nonRoot, () => ['require.nonRoot', 'not started as root', 'claims', /^CLAIM_USER$/]),
    ...maybe(require.fileManifest, () => [
      'require.fileManifest',
      'with its files named',
      'claims',
      /^CLAIM_FILE_MANIFEST$/,
    ]),
    ...maybe(require.secureBoot, () => [
      'require.secureBoot',
      'built under secure boot',
      'claims',
      /^CLAIM_SECURE_BOOT$/,
    ]),
    ...maybe(require.signingAuthority, (names) => [
      'require.signingAuthority',
      `by a key under the approvals of ${some(names)}`,
      'claims',
      /^CLAIM_SIGNING_AUTHORITY$/,
    ]),
    ...maybe(require.evidence, (n) => [
      'require.evidence',
      `${n} evidence messages or more`,
      'claims',
      /^CLAIM_EVIDENCE$/,
    ]),
    ...maybe(revoked, (list) => [
      'revoked',
      `none of ${list.length} revocations`,
      'revocations',
      /^REVOKED_/,
    ]),
    ...maybe(witnesses, ({ quorum, keys }) => [
      'witnesses',
      `seen by ${quorum} of ${keys.map((key) => key.split('+')[0]).join(', ')}`,
      'witnesses',
      /./,
    ]),
  ];
  return rules.map(([rule, wants, step, codes]) => ({
    rule,
    wants,
    ...outcome(step, codes, steps, refused),
  }));
}

type Rule = readonly [string, string, Step['step'], RegExp];

function maybe<T>(value: T | undefined, rule: (value: T) => Rule): Rule[] {
  return value === undefined ? [] : [rule(value)];
}

/** A step's rules hold when it does; of a step that was refused, the one with the refusal's code did not hold. */
function outcome(
  step: Step['step'],
  codes: RegExp,
  steps: readonly Step[],
  refused: { readonly code: string } | undefined,
): Pick<Want, 'held'> {
  const found = steps.findLast((one) => one.step === step);
  if (found === undefined) return {};
  if (found.ok) return { held: true };
  return refused !== undefined && codes.test(refused.code) ? { held: false } : {};
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}
