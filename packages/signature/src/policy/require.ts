import type { SessionClaims } from '@kallio/appraisal';
import { concat, fromHex, sha256, toHex, utf8 } from '@kallio/codec';
import { signatureError } from '../error.ts';
import type { Claims } from '../statement.ts';
import type { ImagePolicy } from './schema.ts';

type Required = NonNullable<ImagePolicy['require']>;
type ConfigClaims = Exclude<Claims['image'], { readonly index: unknown }>;

/** What the signed claims must say: `CLAIM_…` for the first that they don't. An index has no configuration of its own. */
export function requireClaims(required: Required, claims: Claims, session: SessionClaims): void {
  const { names, evidence: messages } = required;
  const { evidence, secureBoot } = session;
  if (names !== undefined && !names.includes(claims.subject.name)) {
    throw signatureError('CLAIM_NAME', `The image was built as "${claims.subject.name}".`, {
      pointer: '/subject/0/name',
      hint: `The policy wants ${oneOf(names)}. An image that is copied keeps the name it was built for.`,
    });
  }
  if (messages !== undefined && evidence.length < messages) {
    throw signatureError(
      'CLAIM_EVIDENCE',
      `The session rests on ${evidence.length} evidence messages, not on ${messages}.`,
      {
        pointer: '/predicate/buildEnvironment/evidence',
        hint: 'Build with kallio build --attest-every SECONDS: it shows evidence while it builds.',
      },
    );
  }
  if (required.secureBoot === true && secureBoot !== true) {
    throw signatureError(
      'CLAIM_SECURE_BOOT',
      'Nothing says that the build host booted with secure boot on.',
      {
        pointer: '/predicate/buildEnvironment/secureBoot',
        hint: 'The server says so where its policy for build hosts demands it: reference.secureBoot, "enabled": true.',
      },
    );
  }
  if (required.signingAuthority !== undefined) requireGoverned(required.signingAuthority, session);
  if (!('index' in claims.image)) requireOfImage(required, claims, claims.image);
}

/**
 * The server says under which policy the signing key is, as the AK certified it. Stops a signature from a host whose root
 * could sign in any state, or by the approvals of somebody else. What the statement shows of the key is its maker's word.
 */
function requireGoverned(authorities: readonly string[], { signingPolicy: policy }: SessionClaims): void {
  if (policy !== undefined && authorities.some((name) => policyOf(name) === policy)) return;
  throw signatureError(
    'CLAIM_SIGNING_AUTHORITY',
    policy === undefined
      ? 'The signing key opens without anybody’s approval.'
      : 'The signing key opens by the approvals of somebody else.',
    {
      pointer: '/predicate/buildEnvironment/akCertification/key',
      hint: 'Put the build host’s key under the operator’s approvals ("signing" in the agent’s configuration) and build the image again.',
    },
  );
}

/**
 * The policy that an operator of this Name authorizes (TPM 2.0 Part 3, TPM2_PolicyAuthorize: PolicyUpdate of a policy that has
 * begun anew), as `signingPolicyOf` of the TPM's package makes it: who starts to verify an image loads none of that package.
 */
function policyOf(name: string): string {
  const authorized = sha256(concat(new Uint8Array(32), CC_POLICY_AUTHORIZE, fromHex(name)));
  return toHex(sha256(concat(authorized, SIGNING_POLICY_REF)));
}

/** TPM_CC_PolicyAuthorize (Part 2 section 6.5.2). */
const CC_POLICY_AUTHORIZE = fromHex('0000016a');
/** What an operator's approvals are for. */
const SIGNING_POLICY_REF = utf8('kallio-signing-v1');

function requireOfImage(required: Required, { fileManifest }: Claims, image: ConfigClaims): void {
  const { labels, bases, nonRoot } = required;
  for (const [name, values] of Object.entries(labels ?? {})) requireLabel(name, values, image);
  // Layers are proved by their content; a label that names a base image is what the builder says.
  if (
    bases !== undefined &&
    !bases.some(({ layers }) => layers.every((layer, i) => layer === image.layers[i]))
  ) {
    throw signatureError('CLAIM_BASE', 'The image stands on none of the base images that the policy names.', {
      pointer: '/predicate/image/layers',
      hint: `Build it FROM ${oneOf(bases.map(({ name }) => name))}, or add the layers of its base to the policy.`,
    });
  }
  if (nonRoot === true && !isNoRoot(image.user)) {
    throw signatureError('CLAIM_USER', `The image’s processes start as "${image.user}", which may be root.`, {
      pointer: '/predicate/image/user',
      hint: 'Give the image a USER by number, such as 1000: a name is whoever the image’s own /etc/passwd says.',
    });
  }
  if (required.fileManifest === true && fileManifest.files === 0) {
    throw signatureError('CLAIM_FILE_MANIFEST', 'The signature names no files of the image.', {
      pointer: '/predicate/fileManifest/files',
      hint: 'Without them no instance can be attested. Build the image with kallio build.',
    });
  }
}

function requireLabel(name: string, values: readonly string[], { labels }: ConfigClaims): void {
  const value = Object.hasOwn(labels, name) ? labels[name] : undefined;
  const fits = value !== undefined && (values.length === 0 ? value !== '' : values.includes(value));
  if (fits) return;
  throw signatureError(
    'CLAIM_LABEL',
    value === undefined ? `The image has no label "${name}".` : `The image’s label "${name}" is "${value}".`,
    {
      pointer: `/predicate/image/labels/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
      hint: values.length === 0 ? 'Set it with LABEL when you build.' : `The policy wants ${oneOf(values)}.`,
    },
  );
}

/** Engines take no user id above. */
const MAX_UID = 0x7fff_ffff;

/**
 * OCI image configuration, "User": a name or number, perhaps with a group; nothing means root. A name says nothing: the
 * image's own /etc/passwd may give it the number 0. Nor does what engines read as a number and write otherwise (`+0`).
 */
function isNoRoot(user: string): boolean {
  const [id = ''] = user.split(':');
  return /^[1-9]\d{0,9}$/.test(id) && Number(id) <= MAX_UID;
}

function oneOf(values: readonly string[]): string {
  const shown = values.slice(0, 3).join(' or ');
  return values.length > 3 ? `${shown}, or one of ${values.length - 3} others` : shown;
}
