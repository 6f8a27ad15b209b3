import { KallioError } from '@kallio/codec';
import {
  attesterDecide,
  attesterHistory,
  attesterPush,
  attesterShow,
  attestersList,
  enrolBegin,
  enrolProve,
  enrolStatus,
  joinTokenCreate,
  type ProtocolCode,
} from '@kallio/protocol';
import type { Streams } from '@kallio/protocol/serve';
import { sourceOf } from '../address.ts';
import { admittedClaim } from '../attestation/evidence.ts';
import { summaryOf } from '../attestation/standing.ts';
import type { Verifier } from '../attestation/verifier.ts';
import { callerName } from '../http/caller.ts';
import type { Mount } from '../http/mount.ts';
import { hashToken, newToken } from '../secrets.ts';
import { isoTime } from '../time.ts';
import { decide } from './admission.ts';
import { beginEnrolment, type Enrolment } from './begin.ts';
import { enrolmentStatus, proveEnrolment } from './prove.ts';

/** Most decisions shown of one name. */
const MAX_HISTORY = 1000;

/** Routes of enrolment and admission. */
export function enrolmentRoutes(
  mount: Mount,
  enrolment: Enrolment,
  verifier: Verifier,
  streams: Streams,
): void {
  const { store } = enrolment;
  mount.route(
    enrolBegin,
    ({ body }, { request, now }) => beginEnrolment(enrolment, body, sourceOf(request.ip), now),
    {
      bodyLimit: 128 * 1024,
    },
  );
  mount.route(enrolProve, ({ params, body }, { now }) =>
    proveEnrolment(enrolment, params.challenge, body.proof, now),
  );
  mount.route(enrolStatus, ({ params }, { now }) => enrolmentStatus(store, params.challenge, now));
  mount.route(attestersList, (_, { now }) => ({
    attesters: store.claims.current().map((claim) => summaryOf(verifier, claim, now)),
  }));
  mount.route(attesterShow, ({ params }, { now }) => {
    const ofName = store.claims.current().filter((claim) => claim.attester === params.attester);
    const claim = ofName.find((c) => c.state === 'admitted') ?? ofName.at(-1);
    if (claim === undefined) {
      throw new KallioError('NOT_FOUND' satisfies ProtocolCode, `No attester is called ${params.attester}.`);
    }
    return summaryOf(verifier, claim, now);
  });
  mount.route(attesterHistory, ({ params }) => ({
    admissions: store.claims
      .history(params.attester, MAX_HISTORY)
      .map(({ at, state, ...decision }) => ({ at: isoTime(at), admission: state, ...decision })),
  }));
  mount.route(attesterDecide, ({ params, body }, context) => {
    const { now } = context;
    const claim = decide(store, params.attester, body.ek, body.decision, callerName(context), now.getTime());
    // Whoever had the name before, or has lost it, hears nothing more; the one in force connects again.
    streams.end(params.attester);
    return summaryOf(verifier, claim, now);
  });
  mount.route(attesterPush, ({ params }) => {
    const { attester } = admittedClaim(store, params.attester);
    return { asked: streams.send(attester, 'attest', {}) };
  });
  mount.route(joinTokenCreate, ({ body }, context) => {
    const token = newToken('join');
    const expiresAt = context.now.getTime() + body.ttlSeconds * 1000;
    const { uses, kind, attester } = body;
    store.joinTokens.insert(
      hashToken(token),
      {
        uses,
        expiresAt,
        ...(kind === undefined ? {} : { kind }),
        ...(attester === undefined ? {} : { attester }),
      },
      callerName(context),
    );
    return { token, expiresAt: isoTime(expiresAt) };
  });
}
