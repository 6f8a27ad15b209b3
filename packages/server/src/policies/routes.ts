import { canonicalBytes, digestOf, KallioError, parseDigest } from '@kallio/codec';
import {
  type ProtocolCode,
  policyPut,
  policyShow,
  REFERENCE_SET_CONTENT,
  REFERENCE_SET_TYPE,
  referenceSetShow,
} from '@kallio/protocol';
import { requireAccess } from '@kallio/protocol/serve';
import type { Mount } from '../http/mount.ts';
import type { Policies } from './policies.ts';

const MAX_POLICY_BYTES = 64 * 1024 * 1024;
/** Sixteen million digests. */
const MAX_SET_BYTES = 512 * 1024 * 1024;

/** Routes of the appraisal policies. */
export function policyRoutes(mount: Mount, policies: Policies): void {
  mount.route(policyShow, ({ params: { kind } }) => {
    const policy = policies.get(kind);
    if (policy === undefined) {
      throw new KallioError(
        'NOT_FOUND' satisfies ProtocolCode,
        `There is no appraisal policy for a ${kind}.`,
        { hint: `Put one in force: kallio policy set --kind ${kind} FILE` },
      );
    }
    return { kind, id: policy.id, digest: digestOf(canonicalBytes(policy)), policy };
  });
  mount.route(
    policyPut,
    async ({ params: { kind }, body }, { now }) => ({ kind, ...(await policies.install(kind, body, now)) }),
    { bodyLimit: MAX_POLICY_BYTES },
  );
  mount.route(referenceSetShow, ({ params: { digest } }) => ({
    digest,
    known: policies.hasSet(parseDigest(digest)),
  }));
  mount.app.addContentTypeParser(
    REFERENCE_SET_TYPE,
    { parseAs: 'buffer', bodyLimit: MAX_SET_BYTES },
    (_request, body, done) => done(null, body),
  );
  mount.app.put<{ Params: { digest: string } }>(
    REFERENCE_SET_CONTENT,
    {
      bodyLimit: MAX_SET_BYTES,
      schema: { summary: 'Upload a reference set that a policy will name' },
      // Before the body is read.
      onRequest: async (request) => requireAccess(await mount.authenticate(request), ['admin']),
    },
    (request) => {
      if (!(request.body instanceof Uint8Array)) {
        throw new KallioError(
          'REQUEST_INVALID' satisfies ProtocolCode,
          `A reference set is ${REFERENCE_SET_TYPE}.`,
        );
      }
      const digest = parseDigest(request.params.digest);
      policies.putSet(digest, request.body);
      return { digest, known: true };
    },
  );
}
