import { createHmac } from 'node:crypto';
import { fromBase64, toBase64, toHex } from '@kallio/codec';
import {
  type Client,
  type EnrolChallenge,
  type EnrolRequest,
  type EnrolStatus,
  enrolBegin,
  enrolmentTranscript,
  enrolProve,
  joinTokenCreate,
} from '@kallio/protocol';
import { fingerprintOf, nameOf, parsePublic } from '@kallio/tpm/structures';
import type { TestServer } from './fixture-server.ts';
import type { TestTpm } from './fixture-tpm.ts';

/** An honest enrolment request of this TPM. */
export function requestOf(tpm: TestTpm, attester: string, joinToken?: string): EnrolRequest {
  return {
    attester,
    kind: 'builder',
    ...(joinToken === undefined ? {} : { joinToken }),
    ekCertificate: toBase64(tpm.ekCertificate),
    intermediates: [],
    ekPublic: toBase64(tpm.ekPublic),
    akPublic: toBase64(tpm.akPublic),
  };
}

/** The answer that this TPM gives to a challenge. */
export async function answer(
  tpm: TestTpm,
  request: EnrolRequest,
  challenge: EnrolChallenge,
): Promise<string> {
  const secret = await tpm.activate(
    fromBase64(challenge.credentialBlob),
    fromBase64(challenge.encryptedSecret),
  );
  const transcript = enrolmentTranscript({
    attester: request.attester,
    kind: request.kind,
    challenge: challenge.challenge,
    ek: toHex(fingerprintOf(parsePublic(fromBase64(request.ekPublic)))),
    ak: toHex(nameOf(fromBase64(request.akPublic))),
  });
  return toBase64(new Uint8Array(createHmac('sha256', secret).update(transcript).digest()));
}

/** Both halves of an honest enrolment. */
export async function enrol(client: Client, tpm: TestTpm, request: EnrolRequest): Promise<EnrolStatus> {
  return (await enrolled(client, tpm, request)).status;
}

/** The same, with the challenge by which it was made. */
export async function enrolled(client: Client, tpm: TestTpm, request: EnrolRequest) {
  const { challenge, ...rest } = await client.call(enrolBegin, { body: request });
  const proof = await answer(tpm, request, { challenge, ...rest });
  const status = await client.call(enrolProve, { params: { challenge }, body: { proof } });
  return { challenge, status };
}

/** A join token for so many uses. */
export async function joinToken(server: TestServer, uses = 1): Promise<string> {
  return (await server.admin().call(joinTokenCreate, { body: { uses, ttlSeconds: 600 } })).token;
}
