import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, decodeShape, digestOf, equalBytes, fromHex, parseJson } from '@kallio/codec';
import { SigningApproval } from '@kallio/protocol';
import {
  flushContext,
  loadExternal,
  policyAuthorize,
  policyPcr,
  startPolicySession,
  type Tpm,
  verifySignatureInTpm,
} from '@kallio/tpm';
import {
  approvalMessage,
  type EccPublic,
  marshalPublic,
  nameOf,
  pcrPolicy,
  SIGNING_POLICY_REF,
} from '@kallio/tpm/structures';
import { agentError } from '../error.ts';

/** Most approvals that are looked at. */
const MAX_APPROVALS = 256;
const MAX_APPROVAL = 16 * 1024;

/** Who governs the signing key, and where what was approved lies. */
export interface Governance {
  /** The operator's key, as a TPM loads it. */
  readonly authority: EccPublic;
  /** A folder of approvals: one JSON file each, read at every signature, so that a new one needs no restart. */
  readonly approvals: string;
}

/** PCR values as they are now, of the PCRs that are asked for. */
export type ReadPcrs = (pcrs: readonly number[]) => Promise<ReadonlyMap<number, Uint8Array>>;

/**
 * Opens a policy session that satisfies the signing key's policy, hands it to `use`, and flushes it. The TPM decides:
 * it compares its own PCRs, and verifies the operator's signature itself. `SIGNING_NOT_APPROVED` where no approval is
 * for the present state.
 */
export async function withApproval<T>(
  tpm: Tpm,
  { authority, approvals }: Governance,
  readPcrs: ReadPcrs,
  use: (session: number) => Promise<T>,
): Promise<T> {
  const { pcrs, signature } = await matching(await readApprovals(approvals), readPcrs);
  const numbers = [...pcrs.keys()].sort((a, b) => a - b);
  const policy = pcrPolicy(pcrs);
  const ticket = await verified(tpm, authority, digestOf(approvalMessage(policy)), signature);
  const session = await startPolicySession(tpm);
  try {
    await policyPcr(tpm, session, [{ bank: 'sha256', pcrs: numbers }]);
    await policyAuthorize(tpm, session, {
      policy,
      policyRef: SIGNING_POLICY_REF,
      signer: nameOf(authority),
      ticket,
    });
    return await use(session);
  } finally {
    await flushContext(tpm, session);
  }
}

/** The TPM's ticket that it verified the operator's signature itself; another TPM's ticket is worth nothing here. */
async function verified(tpm: Tpm, authority: EccPublic, digest: Digest, signature: Uint8Array) {
  const signer = await loadExternal(tpm, marshalPublic(authority));
  try {
    return await verifySignatureInTpm(tpm, signer.handle, fromHex(digest.slice('sha256:'.length), 32), {
      scheme: 'ecdsa',
      hash: 'sha256',
      r: signature.subarray(0, 32),
      s: signature.subarray(32),
    });
  } finally {
    await flushContext(tpm, signer.handle);
  }
}

interface ReadApproval {
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** r and s, 32 bytes each. */
  readonly signature: Uint8Array;
}

/** The approval whose PCRs have their values now. */
async function matching(approvals: readonly ReadApproval[], readPcrs: ReadPcrs): Promise<ReadApproval> {
  for (const approval of approvals) {
    const now = await readPcrs([...approval.pcrs.keys()]);
    const same = [...approval.pcrs].every(([pcr, value]) => equalBytes(value, now.get(pcr) ?? NOTHING));
    if (same) return approval;
  }
  throw agentError(
    'SIGNING_NOT_APPROVED',
    `None of the ${approvals.length} approvals that lie here is for the PCR values of this moment.`,
    {
      hint: 'Show the operator the output of kallio agent signing-state; kallio policy authorize-signing approves it.',
    },
  );
}

const NOTHING = new Uint8Array(0);

async function readApprovals(folder: string): Promise<ReadApproval[]> {
  const names = (await listed(folder)).filter((name) => name.endsWith('.json')).sort();
  const approvals: ReadApproval[] = [];
  for (const name of names.slice(0, MAX_APPROVALS)) {
    const bytes = new Uint8Array(await readFile(join(folder, name)));
    const document = parseJson(bytes, { maxBytes: MAX_APPROVAL });
    const { pcrs, signature } = decodeShape(SigningApproval, document, 'SIGNING_APPROVAL', name);
    approvals.push({
      pcrs: new Map(Object.entries(pcrs).map(([pcr, value]) => [Number(pcr), fromHex(value, 32)])),
      signature: fromHex(signature, 64),
    });
  }
  return approvals;
}

async function listed(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw agentError('SIGNING_NOT_APPROVED', `The folder of approvals ${folder} can’t be read.`, { cause });
  }
}
