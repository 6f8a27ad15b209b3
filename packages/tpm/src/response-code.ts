/** What a TPM_RC says, in words (Part 2 section 6.6, Part 1 section 39). */
export interface ResponseCode {
  readonly code: number;
  /** `TPM_RC_…` as the specification names it, or `TPM_RC_0x…`. */
  readonly name: string;
  /** Which handle, parameter or session of the command it speaks of, from 1. */
  readonly about?: { readonly kind: 'handle' | 'parameter' | 'session'; readonly number: number };
  readonly text: string;
}

/** RC_VER1, 0x100 + n. */
const VERSION_1: ReadonlyMap<number, readonly [string, string]> = new Map([
  [0x00, ['INITIALIZE', 'the TPM was not started, or was started already']],
  [0x01, ['FAILURE', 'the TPM is in failure mode and must be reset']],
  [0x03, ['SEQUENCE', 'a sequence is used wrongly']],
  [0x19, ['PRIVATE', 'not supported here']],
  [0x20, ['HMAC', 'HMAC is not supported here']],
  [0x21, ['DISABLED', 'this command is disabled']],
  [0x22, ['EXCLUSIVE', 'an exclusive audit session was broken']],
  [0x24, ['AUTH_TYPE', 'this handle takes no such authorization']],
  [0x25, ['AUTH_MISSING', 'a handle lacks its authorization']],
  [0x26, ['POLICY', 'a policy is missing or wrong']],
  [0x27, ['PCR', 'a PCR check failed']],
  [0x28, ['PCR_CHANGED', 'a PCR changed since it was checked']],
  [0x2d, ['UPGRADE', 'the TPM is in field-upgrade mode']],
  [0x2e, ['TOO_MANY_CONTEXTS', 'the context counter is used up']],
  [0x2f, ['AUTH_UNAVAILABLE', 'this authorization is not available']],
  [0x30, ['REBOOT', 'a reset and startup are needed']],
  [0x31, ['UNBALANCED', 'the hash and symmetric strengths do not match']],
  [0x42, ['COMMAND_SIZE', 'the command’s size is wrong']],
  [0x43, ['COMMAND_CODE', 'this TPM has no such command']],
  [0x44, ['AUTHSIZE', 'the authorization area’s size is wrong']],
  [0x45, ['AUTH_CONTEXT', 'this command takes no sessions']],
  [0x46, ['NV_RANGE', 'the NV offset or size is out of range']],
  [0x47, ['NV_SIZE', 'the NV size is not allowed']],
  [0x48, ['NV_LOCKED', 'this NV index is locked']],
  [0x49, ['NV_AUTHORIZATION', 'this NV index may not be accessed so']],
  [0x4a, ['NV_UNINITIALIZED', 'this NV index was never written']],
  [0x4b, ['NV_SPACE', 'NV memory is full']],
  [0x4c, ['NV_DEFINED', 'this NV index exists already']],
  [0x50, ['BAD_CONTEXT', 'this context is not of this TPM, or not of this boot']],
  [0x51, ['CPHASH', 'the command is not the one that the policy names']],
  [0x52, ['PARENT', 'this is no parent']],
  [0x53, ['NEEDS_TEST', 'a self-test must run first']],
  [0x54, ['NO_RESULT', 'there is no result']],
  [0x55, ['SENSITIVE', 'a sensitive area did not unmarshal']],
]);

/** RC_WARN, 0x900 + n. */
const WARNINGS: ReadonlyMap<number, readonly [string, string]> = new Map([
  [0x01, ['CONTEXT_GAP', 'the gap between contexts is too large']],
  [0x02, ['OBJECT_MEMORY', 'no slot is free for another object: flush one']],
  [0x03, ['SESSION_MEMORY', 'no slot is free for another session: flush one']],
  [0x04, ['MEMORY', 'the TPM is out of memory']],
  [0x05, ['SESSION_HANDLES', 'no session handle is free']],
  [0x06, ['OBJECT_HANDLES', 'no object handle is free']],
  [0x07, ['LOCALITY', 'this locality may not do that']],
  [0x08, ['YIELDED', 'the TPM put the command off: send it again']],
  [0x09, ['CANCELED', 'the command was cancelled']],
  [0x0a, ['TESTING', 'the TPM is testing itself: send the command again']],
  [0x10, ['REFERENCE_H0', 'the first handle is not loaded']],
  [0x11, ['REFERENCE_H1', 'the second handle is not loaded']],
  [0x12, ['REFERENCE_H2', 'the third handle is not loaded']],
  [0x18, ['REFERENCE_S0', 'the first session is not loaded']],
  [0x19, ['REFERENCE_S1', 'the second session is not loaded']],
  [0x20, ['NV_RATE', 'NV is written too often: wait']],
  [0x21, ['LOCKOUT', 'too many wrong authorizations: the TPM is in lockout']],
  [0x22, ['RETRY', 'the TPM was busy: send the command again']],
  [0x23, ['NV_UNAVAILABLE', 'NV memory is not available']],
]);

/** RC_FMT1, 0x080 + n: about one handle, parameter or session. */
const FORMAT_1: ReadonlyMap<number, readonly [string, string]> = new Map([
  [0x01, ['ASYMMETRIC', 'this asymmetric algorithm is not supported or not right']],
  [0x02, ['ATTRIBUTES', 'the attributes do not fit']],
  [0x03, ['HASH', 'this hash algorithm is not supported or not right']],
  [0x04, ['VALUE', 'the value is out of range or not right here']],
  [0x05, ['HIERARCHY', 'this hierarchy is not enabled or not right']],
  [0x07, ['KEY_SIZE', 'this key size is not supported']],
  [0x08, ['MGF', 'this mask function is not supported']],
  [0x09, ['MODE', 'this mode is not supported']],
  [0x0a, ['TYPE', 'the type is not right']],
  [0x0b, ['HANDLE', 'the handle is not right']],
  [0x0c, ['KDF', 'this KDF is not supported']],
  [0x0d, ['RANGE', 'the value was out of range']],
  [0x0e, ['AUTH_FAIL', 'the authorization is wrong (and was counted)']],
  [0x0f, ['NONCE', 'the nonce is wrong']],
  [0x10, ['PP', 'physical presence is needed']],
  [0x12, ['SCHEME', 'this scheme is not supported or does not fit']],
  [0x15, ['SIZE', 'the size is wrong']],
  [0x16, ['SYMMETRIC', 'this symmetric algorithm is not supported']],
  [0x17, ['TAG', 'the structure tag is wrong']],
  [0x18, ['SELECTOR', 'the selector is wrong']],
  [0x1a, ['INSUFFICIENT', 'the input is too short']],
  [0x1b, ['SIGNATURE', 'the signature is not valid']],
  [0x1c, ['KEY', 'the key does not fit its use']],
  [0x1d, ['POLICY_FAIL', 'the policy check failed']],
  [0x1f, ['INTEGRITY', 'the integrity check failed: this is not of this TPM, or was changed']],
  [0x20, ['TICKET', 'the ticket is not valid']],
  [0x21, ['RESERVED_BITS', 'a reserved bit is set']],
  [0x22, ['BAD_AUTH', 'the authorization is wrong']],
  [0x23, ['EXPIRED', 'the policy has expired']],
  [0x24, ['POLICY_CC', 'the policy is for another command']],
  [0x25, ['BINDING', 'public and sensitive parts do not belong together']],
  [0x26, ['CURVE', 'this curve is not supported']],
  [0x27, ['ECC_POINT', 'this is no point of the curve']],
]);

/** Decodes a response code. */
export function decodeResponseCode(code: number): ResponseCode {
  if (code === 0) return { code, name: 'TPM_RC_SUCCESS', text: 'all went well' };
  if ((code & 0x80) !== 0) {
    const [name, text] = FORMAT_1.get(code & 0x3f) ?? unknown(code);
    const n = (code >> 8) & 0xf;
    const about =
      (code & 0x40) !== 0
        ? ({ kind: 'parameter', number: n } as const)
        : n >= 8
          ? ({ kind: 'session', number: n - 8 } as const)
          : ({ kind: 'handle', number: n } as const);
    return { code, name: `TPM_RC_${name}`, ...(about.number === 0 ? {} : { about }), text };
  }
  const table = (code & 0x900) === 0x900 ? WARNINGS : (code & 0x100) !== 0 ? VERSION_1 : new Map();
  const [name, text] = table.get(code & 0x7f) ?? unknown(code);
  return { code, name: `TPM_RC_${name}`, text };
}

function unknown(code: number): readonly [string, string] {
  return [`0x${code.toString(16).padStart(3, '0')}`, 'the specification has no word for this'];
}
