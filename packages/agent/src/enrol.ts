import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { fromBase64, toBase64, toHex } from '@kallio/codec';
import {
  Client,
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

/** Longest pause between two questions about an admission that an operator must decide. */
const MAX_PAUSE_MS = 15_000;

/**
 * Enrols: shows EK certificate and AK, opens the server's challenge in the TPM, proves it. Gives the challenge and the
 * state of the claim; with `wait`, not before somebody has decided on it.
 */
export async function enrol(
  config: AgentConfig,
  identity: TpmIdentity,
  options: {
    readonly signal?: AbortSignal;
    readonly wait?: boolean;
    readonly pending?: (status: EnrolStatus) => void;
  } = {},
): Promise<{ readonly challenge: string; readonly status: EnrolStatus }> {
  const client = new Client({ url: config.server, ca: readFileSync(config.serverCa, 'utf8') });
  try {
    const { attester, kind } = config;
    const challenge = await client.call(enrolBegin, {
      body: {
        attester,
        kind,
        ...(config.joinTokenFile === undefined ? {} : { joinToken: readToken(config.joinTokenFile) }),
        ekCertificate: toBase64(identity.ekCertificate),
        intermediates: identity.intermediates.map(toBase64),
        ekPublic: toBase64(identity.ekPublic),
        akPublic: toBase64(identity.akPublic),
      },
    });
    const secret = await identity.activateCredential(
      fromBase64(challenge.credentialBlob),
      fromBase64(challenge.encryptedSecret),
    );
    const transcript = enrolmentTranscript({
      attester,
      kind,
      challenge: challenge.challenge,
      ek: toHex(fingerprintOf(parsePublic(identity.ekPublic))),
      ak: toHex(identity.akName),
    });
    const proof = createHmac('sha256', secret).update(transcript).digest();
    const params = { challenge: challenge.challenge };
    let status = await client.call(enrolProve, { params, body: { proof: toBase64(proof) } });
    for (
      let pause = 500;
      options.wait === true && isOpen(status);
      pause = Math.min(pause * 2, MAX_PAUSE_MS)
    ) {
      options.pending?.(status);
      await wait(pause, undefined, options.signal === undefined ? {} : { signal: options.signal });
      status = await client.call(enrolStatus, { params });
    }
    return { challenge: challenge.challenge, status };
  } finally {
    await client.close();
  }
}

/** Throws unless the claim was admitted. */
export function requireAdmitted(status: EnrolStatus): void {
  if (status.state === 'admitted') return;
  const why = status.reason === undefined ? '' : ` ${status.reason.message} (${status.reason.code})`;
  throw isOpen(status)
    ? agentError('ENROL_PENDING', `The claim to be ${status.attester} waits for the operator.${why}`, {
        hint: `The operator decides with: kallio attesters admit ${status.attester}`,
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
