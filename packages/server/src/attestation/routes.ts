import { KallioError } from '@kallio/codec';
import {
  ATTESTER_STREAM,
  attesterActivity,
  attesterMeasurements,
  certificateCreate,
  evidenceSubmit,
  nonceCreate,
  type ProtocolCode,
  resultMeasurements,
} from '@kallio/protocol';
import type { ReadBody, Streams } from '@kallio/protocol/serve';
import { attesterOf, readBody, requireAccess } from '@kallio/protocol/serve';
import { callingAttester } from '../http/caller.ts';
import type { Mount } from '../http/mount.ts';
import {
  type CertificateIssuer,
  issueCertificate,
  nonceFor,
  nonceForStranger,
  submitEvidence,
} from './evidence.ts';
import { measurementsBehind, measurementsOf } from './measurements.ts';
import { MessageReader } from './message-reader.ts';
import { resultRoutes } from './results.ts';

/** Attesters of which the last message stays read. */
const ATTESTERS = 16_384;

/** Routes of attestation outside sessions. */
export function attestationRoutes(mount: Mount, issuer: CertificateIssuer, streams: Streams): void {
  const { verifier } = issuer;
  const { attestation } = verifier.config;
  const bodyLimit = attestation.maxEvidenceBytes;
  mount.route(nonceCreate, ({ body }, context) => {
    const caller = callingAttester(context);
    // Nobody fetches nonces in another's name; without a certificate there is only the one purpose that earns one.
    if (caller === undefined ? body.purpose !== 'transport-key' : body.attester !== caller) {
      throw new KallioError(
        caller === undefined && context.principal.kind === 'anonymous'
          ? ('UNAUTHENTICATED' satisfies ProtocolCode)
          : ('FORBIDDEN' satisfies ProtocolCode),
        'Only the attester itself may ask for such a nonce.',
      );
    }
    return caller === undefined
      ? nonceForStranger(verifier, body, context.now)
      : nonceFor(verifier, body, context.now);
  });
  mount.route(
    certificateCreate,
    ({ body }, { now }) => issueCertificate(issuer, body.evidence, body.tlsKey, now),
    { bodyLimit },
  );
  const parse = (bytes: Uint8Array) => readBody(evidenceSubmit.body, bytes);
  const reader = new MessageReader(parse, ATTESTERS);
  const read: ReadBody = (bytes, principal) =>
    principal.kind === 'attester' ? reader.read(principal.attester, bytes) : parse(bytes);
  mount.route(
    evidenceSubmit,
    ({ body }, context) => submitEvidence(verifier, attesterOf(context), body, context.now),
    { bodyLimit, read, quiet: true },
  );
  resultRoutes(mount, verifier);
  mount.route(attesterActivity, ({ body }, context) => {
    verifier.presence.say(attesterOf(context), body.doing, context.now);
    return {};
  });
  mount.route(attesterMeasurements, ({ params }) => measurementsOf(verifier, params.attester));
  mount.route(resultMeasurements, ({ params }) => measurementsBehind(verifier, params.digest));
  mount.app.get(
    ATTESTER_STREAM,
    { schema: { summary: 'Server-sent events to an attester' } },
    async (request, reply) => {
      const principal = await mount.authenticate(request);
      requireAccess(principal, ['attester']);
      if (principal.kind !== 'attester') throw new KallioError('FORBIDDEN', 'Only an attester has a stream.');
      reply.hijack();
      // A stream is no way to outlive the certificate: the attester comes back with a new one.
      streams.open(principal.attester, reply.raw, attestation.certificateSeconds * 1000);
    },
  );
}
