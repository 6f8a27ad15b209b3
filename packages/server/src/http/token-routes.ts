import { KallioError } from '@kallio/codec';
import { type ProtocolCode, tokenCreate, tokenRevoke, tokenRotate } from '@kallio/protocol';
import { hashToken, newToken } from '../secrets.ts';
import type { Store } from '../store/store.ts';
import { isoTime } from '../time.ts';
import { callerName } from './caller.ts';
import type { Mount } from './mount.ts';

/** Routes for bearer tokens of people and programs. A token is shown once, here, and stored as its hash. */
export function tokenRoutes(mount: Mount, store: Store): void {
  mount.route(tokenCreate, ({ body }, context) => {
    const token = newToken('token');
    const now = context.now.getTime();
    const expiresAt = now + body.ttlSeconds * 1000;
    const { name, role } = body;
    store.tokens.insert(hashToken(token), { name, role }, expiresAt, callerName(context), now);
    return { token, expiresAt: isoTime(expiresAt) };
  });
  mount.route(tokenRotate, ({ params, body }, context) => {
    const token = newToken('token');
    const now = context.now.getTime();
    const expiresAt = now + body.ttlSeconds * 1000;
    const holder = store.tokens.rotate(params.name, hashToken(token), expiresAt, callerName(context), now);
    if (holder === undefined) {
      throw new KallioError('NOT_FOUND' satisfies ProtocolCode, `No token named ${params.name} is in force.`);
    }
    return { token, role: holder.role, expiresAt: isoTime(expiresAt) };
  });
  mount.route(tokenRevoke, ({ params }, { now }) => ({
    revoked: store.tokens.revoke(params.name, now.getTime()),
  }));
}
