import { tokenCreate, tokenRevoke } from '@kallio/protocol';
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
  mount.route(tokenRevoke, ({ params }, { now }) => ({
    revoked: store.tokens.revoke(params.name, now.getTime()),
  }));
}
