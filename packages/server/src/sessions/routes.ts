import { KallioError } from '@kallio/codec';
import {
  type ProtocolCode,
  sessionAbandon,
  sessionAttest,
  sessionClose,
  sessionCreate,
  sessionEvents,
  sessionOpen,
  sessionShow,
  sessionsList,
} from '@kallio/protocol';
import { attesterOf, type CallContext } from '@kallio/protocol/serve';
import type { Verifier } from '../attestation/verifier.ts';
import { callingAttester } from '../http/caller.ts';
import type { Mount } from '../http/mount.ts';
import { abandonSession } from './abandon.ts';
import { attestSession } from './attest.ts';
import { closeSession } from './close.ts';
import { createSession } from './create.ts';
import { expireSessions, sessionNow } from './end.ts';
import { openSession } from './open.ts';

/** Longest list of sessions that is answered: the newest. */
const MAX_LISTED = 1000;

/** Routes of attestation sessions. */
export function sessionRoutes(mount: Mount, verifier: Verifier): void {
  const { store, config } = verifier;
  const bodyLimit = config.attestation.maxEvidenceBytes;
  mount.route(sessionCreate, (_, context) => createSession(verifier, attesterOf(context), context.now));
  mount.route(
    sessionOpen,
    ({ params, body }, context) =>
      openSession(verifier, attesterOf(context), params.session, body.evidence, context.now),
    { bodyLimit },
  );
  mount.route(
    sessionAttest,
    ({ params, body }, context) =>
      attestSession(verifier, attesterOf(context), params.session, body.evidence, context.now),
    { bodyLimit },
  );
  mount.route(
    sessionClose,
    ({ params, body }, context) =>
      closeSession(verifier, attesterOf(context), params.session, body, context.now),
    { bodyLimit },
  );
  mount.route(sessionAbandon, ({ params }, context) =>
    abandonSession(verifier, attesterOf(context), params.session, context.now),
  );
  mount.route(sessionsList, (_, { now }) => {
    expireSessions(store, now);
    return { sessions: store.sessions.list(MAX_LISTED).map((session) => session.record) };
  });
  const shown = (id: string, context: CallContext & { readonly now: Date }) => {
    const session = store.transaction(() => sessionNow(store, id, context.now));
    const caller = callingAttester(context);
    if (session === undefined || (caller !== undefined && session.attester !== caller)) {
      throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'There is no such session.');
    }
    return session.record;
  };
  mount.route(sessionShow, ({ params }, context) => shown(params.session, context));
  mount.route(sessionEvents, ({ params }, context) => {
    const { session } = shown(params.session, context);
    return { session, events: store.sessions.eventsOf(session) };
  });
}
