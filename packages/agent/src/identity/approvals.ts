import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Digest,
  decodeShape,
  digestOf,
  equalBytes,
  fromHex,
  KallioError,
  parseJson,
  printable,
} from '@kallio/codec';
import { SigningApproval } from '@kallio/protocol';
import {
  flushContext,
  loadExternal,
  policyAuthorize,
  policyPcr,
  startPolicySession,
  type Tpm,
  TpmResponseError,
  verifySignatureInTpm,
} from '@kallio/tpm';
import {
  approvalMessage,
  type EccPublic,
  marshalPublic,
  nameOf,
  pcrPolicy,
  SIGNING_POLICY_REF,
  type Ticket,
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
 * for the present state, `SIGNING_APPROVAL_FORGED` where one says so and is not the operator's. What is wrong with one file
 * keeps none of the others from being taken.
 */
export async function withApproval<T>(
  tpm: Tpm,
  { authority, approvals }: Governance,
  readPcrs: ReadPcrs,
  use: (session: number) => Promise<T>,
): Promise<T> {
  const { pcrs, policy, ticket } = await approvedNow(tpm, authority, await readFolder(approvals), readPcrs);
  const session = await startPolicySession(tpm);
  try {
    await policyPcr(tpm, session, [{ bank: 'sha256', pcrs }]);
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

/** An approval of the state that the TPM is in, which it knows to be the operator's. */
interface Approved {
  /** Ascending. */
  readonly pcrs: readonly number[];
  readonly policy: Uint8Array;
  readonly ticket: Ticket;
}

/** The first approval whose PCRs have their values now and that the operator signed. */
async function approvedNow(
  tpm: Tpm,
  authority: EccPublic,
  { approvals, unreadable }: Folder,
  readPcrs: ReadPcrs,
): Promise<Approved> {
  const forged: string[] = [];
  for (const { name, pcrs, signature } of approvals) {
    const now = await readPcrs([...pcrs.keys()]);
    if (![...pcrs].every(([pcr, value]) => equalBytes(value, now.get(pcr) ?? NOTHING))) continue;
    const policy = pcrPolicy(pcrs);
    const ticket = await verified(tpm, authority, digestOf(approvalMessage(policy)), signature);
    if (ticket === undefined) forged.push(name);
    else return { pcrs: [...pcrs.keys()].sort((a, b) => a - b), policy, ticket };
  }
  const also = unreadable.length === 0 ? '' : ` No approval: ${some(unreadable)}.`;
  if (forged.length > 0) {
    throw agentError(
      'SIGNING_APPROVAL_FORGED',
      `What says that it approves this moment’s PCR values was not signed by the operator: ${some(forged)}.${also}`,
      {
        hint: 'Whoever put it there wants this host to sign in this state. If it should, the operator approves it: kallio policy authorize-signing.',
      },
    );
  }
  throw agentError(
    'SIGNING_NOT_APPROVED',
    `None of the ${approvals.length} approvals that lie here is for the PCR values of this moment.${also}`,
    {
      hint: 'Show the operator the output of kallio agent signing-state; kallio policy authorize-signing approves it.',
    },
  );
}

const NOTHING = new Uint8Array(0);

function some(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/**
 * The TPM's ticket that it verified the operator's signature itself; another TPM's ticket is worth nothing here. Undefined
 * where the signature is not the operator's.
 */
async function verified(
  tpm: Tpm,
  authority: EccPublic,
  digest: Digest,
  signature: Uint8Array,
): Promise<Ticket | undefined> {
  const signer = await loadExternal(tpm, marshalPublic(authority));
  try {
    return await verifySignatureInTpm(tpm, signer.handle, fromHex(digest.slice('sha256:'.length), 32), {
      scheme: 'ecdsa',
      hash: 'sha256',
      r: signature.subarray(0, 32),
      s: signature.subarray(32),
    });
  } catch (error) {
    // TPM_RC_SIGNATURE, whichever parameter it is about. Anything else is no word on the signature.
    if (error instanceof TpmResponseError && (error.responseCode & 0xbf) === RC_SIGNATURE) return undefined;
    throw error;
  } finally {
    await flushContext(tpm, signer.handle);
  }
}

/** Part 2 section 6.6.3, table 16: RC_FMT1 + 0x01B. */
const RC_SIGNATURE = 0x9b;

interface ReadApproval {
  /** Of the file. */
  readonly name: string;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** r and s, 32 bytes each. */
  readonly signature: Uint8Array;
}

interface Folder {
  readonly approvals: readonly ReadApproval[];
  /** Files that are none, and why: for the operator to be told. */
  readonly unreadable: readonly string[];
}

async function readFolder(folder: string): Promise<Folder> {
  const names = (await listed(folder)).filter((name) => name.endsWith('.json')).sort();
  const approvals: ReadApproval[] = [];
  const unreadable: string[] = [];
  for (const name of names.slice(0, MAX_APPROVALS)) {
    const shown = printable(name);
    try {
      approvals.push({ name: shown, ...(await readApproval(join(folder, name))) });
    } catch (error) {
      // Attack: a file of nonsense, put there so that nothing is signed any more. It counts as no approval.
      unreadable.push(`${shown} (${reasonOf(error)})`);
    }
  }
  if (names.length > MAX_APPROVALS) unreadable.push(`what comes after the first ${MAX_APPROVALS} files`);
  return { approvals, unreadable };
}

async function readApproval(path: string): Promise<Omit<ReadApproval, 'name'>> {
  const file = await stat(path);
  // A pipe would be waited for, and a large file read whole.
  if (!file.isFile() || file.size > MAX_APPROVAL)
    throw agentError('SIGNING_APPROVAL', 'This is no approval.');
  const document = parseJson(new Uint8Array(await readFile(path)), { maxBytes: MAX_APPROVAL });
  const { pcrs, signature } = decodeShape(SigningApproval, document, 'SIGNING_APPROVAL', 'The approval');
  return {
    pcrs: new Map(Object.entries(pcrs).map(([pcr, value]) => [Number(pcr), fromHex(value, 32)])),
    signature: fromHex(signature, 64),
  };
}

/** The code of what is wrong with a file; whatever has none is no fault of the file. */
function reasonOf(error: unknown): string {
  if (error instanceof KallioError) return error.code;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  throw error;
}

async function listed(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw agentError('SIGNING_NOT_APPROVED', `The folder of approvals ${folder} can’t be read.`, { cause });
  }
}
