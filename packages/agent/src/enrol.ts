import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { fromBase64, KallioError, toBase64, toHex } from '@kallio/codec';
import {
  Client,
  type EnrolChallenge,
  type EnrolRequest,
  type EnrolStatus,
  enrolBegin,
  enrolmentTranscript,
  enrolProve,
  enrolStatus,
} from '@kallio/protocol';
import { fingerprintOf, parsePublic } from '@kallio/tpm/structures';
import type { AgentConfig } from './config.ts';
import { agentError } from './error.ts';
import type { TpmIdentity } from './identity/identity.ts';

/** What became of a claim. */
export interface Enrolled {
  /** The challenge that was answered: by it the server knows again whom it admitted. */
  readonly challenge: string;
  /** SHA-256 of the EK's SubjectPublicKeyInfo, hexadecimal: what an operator knows this TPM by. */
  readonly ek: string;
  readonly status: EnrolStatus;
}

/** Longest pause between two questions about an admission that an operator must decide. */
const MAX_PAUSE_MS = 15_000;

/**
 * Enrols: shows EK certificate and AK, opens the server's challenge in the TPM, proves it. With `wait`, not before
 * somebody has decided on the claim.
 */
export async function enrol(
  config: AgentConfig,
  identity: TpmIdentity,
  options: {
    readonly signal?: AbortSignal;
    readonly wait?: boolean;
    readonly pending?: (status: EnrolStatus, ek: string) => void;
  } = {},
): Promise<Enrolled> {
  const client = new Client({ url: config.server, ca: readFileSync(config.serverCa, 'utf8') });
  try {
    const { attester, kind } = config;
    const { challenge, tokenRefused } = await begin(client, config, {
      attester,
      kind,
      ekCertificate: toBase64(identity.ekCertificate),
      intermediates: identity.intermediates.map(toBase64),
      ekPublic: toBase64(identity.ekPublic),
      akPublic: toBase64(identity.akPublic),
    });
    const secret = await identity.activateCredential(
      fromBase64(challenge.credentialBlob),
      fromBase64(challenge.encryptedSecret),
    );
    const ek = toHex(fingerprintOf(parsePublic(identity.ekPublic)));
    const transcript = enrolmentTranscript({
      attester,
      kind,
      challenge: challenge.challenge,
      ek,
      ak: toHex(identity.akName),
    });
    const proof = createHmac('sha256', secret).update(transcript).digest();
    const params = { challenge: challenge.challenge };
    let status = await client.call(enrolProve, { params, body: { proof: toBase64(proof) } });
    if (tokenRefused !== undefined && status.state !== 'admitted') throw tokenRefused;
    for (
      let pause = 500;
      options.wait === true && isOpen(status);
      pause = Math.min(pause * 2, MAX_PAUSE_MS)
    ) {
      options.pending?.(status, ek);
      await wait(pause, undefined, options.signal === undefined ? {} : { signal: options.signal });
      status = await client.call(enrolStatus, { params });
    }
    return { challenge: challenge.challenge, ek, status };
  } finally {
    await client.close();
  }
}

/**
 * Asks for a challenge. Where the join token admits nobody any more, without it: whoever is admitted already needs none.
 * That is how the token was spent, if the answer of then was lost on its way.
 */
async function begin(
  client: Client,
  { joinTokenFile }: AgentConfig,
  claim: Omit<EnrolRequest, 'joinToken'>,
): Promise<{ readonly challenge: EnrolChallenge; readonly tokenRefused?: KallioError }> {
  if (joinTokenFile === undefined) return { challenge: await client.call(enrolBegin, { body: claim }) };
  try {
    const body = { ...claim, joinToken: readToken(joinTokenFile) };
    return { challenge: await client.call(enrolBegin, { body }) };
  } catch (error) {
    if (!(error instanceof KallioError) || error.code !== 'ENROL_JOIN_TOKEN_INVALID') throw error;
    return { challenge: await client.call(enrolBegin, { body: claim }), tokenRefused: error };
  }
}

/** Throws unless the claim was admitted. */
export function requireAdmitted({ status, ek }: Enrolled): void {
  if (status.state === 'admitted') return;
  const why = status.reason === undefined ? '' : ` ${status.reason.message} (${status.reason.code})`;
  throw isOpen(status)
    ? agentError('ENROL_PENDING', `The claim to be ${status.attester} waits for the operator.${why}`, {
        hint: `The operator decides with: kallio attesters admit ${status.attester} --ek ${ek}`,
      })
    : agentError('ENROL_REFUSED', `The claim to be ${status.attester} was refused.${why}`);
}

function isOpen({ state }: EnrolStatus): boolean {
  return state === 'pending' || state === 'held';
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw agentError('AGENT_CONFIG', `The join token ${path} can’t be read.`, {
      pointer: '/joinTokenFile',
      cause,
    });
  }
}
