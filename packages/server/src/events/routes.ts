import { X509Certificate } from 'node:crypto';
import { fromBase64, KallioError } from '@kallio/codec';
import {
  EVENT_STREAM,
  eventsList,
  type ProtocolCode,
  webhookCreate,
  webhookRemove,
  webhooksList,
} from '@kallio/protocol';
import { newId, requireAccess } from '@kallio/protocol/serve';
import type { ServerCode } from '../codes.ts';
import { callerName } from '../http/caller.ts';
import type { Mount } from '../http/mount.ts';
import type { Store } from '../store/store.ts';
import type { EventStreams } from './stream.ts';

const PAGE = 200;
const MAX_WEBHOOKS = 64;
const MIN_SECRET = 24;
const MAX_SECRET = 64;
const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** Routes of events: read, followed, and brought to others. */
export function eventRoutes(mount: Mount, store: Store, streams: EventStreams): void {
  mount.route(eventsList, ({ query }) => ({
    events: store.events.after(query.after ?? 0, query.limit ?? PAGE),
    last: store.events.last(),
  }));
  mount.app.get<{ Querystring: Record<string, unknown> }>(
    EVENT_STREAM,
    { schema: { summary: 'Server-sent events: every change of state' } },
    async (request, reply) => {
      requireAccess(await mount.authenticate(request), ['viewer']);
      streams.requireRoom();
      const given = request.headers['last-event-id'] ?? request.query.after;
      const after = given === undefined ? store.events.last() : eventNumber(given);
      reply.hijack();
      streams.open(reply.raw, after);
    },
  );
  mount.route(webhooksList, () => ({ webhooks: store.webhooks.list() }));
  mount.route(webhookCreate, ({ body }, context) => {
    const webhook = newId();
    requireReceiver(body.url, body.ca);
    const secret = fromBase64(body.secret.slice('whsec_'.length));
    if (secret.length < MIN_SECRET || secret.length > MAX_SECRET)
      throw unusable('/secret', `A secret has ${MIN_SECRET} to ${MAX_SECRET} bytes.`);
    store.transaction(() => {
      if (store.webhooks.count() >= MAX_WEBHOOKS)
        throw unusable('/', `There are ${MAX_WEBHOOKS} webhooks already.`);
      const { url, events: types, ca } = body;
      const made = { webhook, url, types, secret, ...(ca === undefined ? {} : { ca }) };
      store.webhooks.insert(made, callerName(context), context.now.getTime());
    });
    const made = store.webhooks.list().find((one) => one.webhook === webhook);
    if (made === undefined)
      throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'It was removed again.');
    return made;
  });
  mount.route(webhookRemove, ({ params }) => ({
    removed: store.transaction(() => store.webhooks.remove(params.webhook)),
  }));
}

/** The number of the last event that was read. */
function eventNumber(given: unknown): number {
  const number = typeof given === 'string' && /^\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new KallioError('REQUEST_INVALID' satisfies ProtocolCode, 'The number of an event is a number.');
}

/** Throws unless events may be sent there: over TLS, or to this very machine. */
function requireReceiver(address: string, ca: string | undefined): void {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || url.username !== '' || url.password !== '' || url.hash !== '')
    throw unusable('/url', 'This is no address that can be told.');
  // Stops events from being read, and their receiver from being another, on the way.
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.has(url.hostname)))
    throw unusable('/url', 'A webhook is told over https; over http only on this machine itself.');
  if (ca === undefined) return;
  try {
    new X509Certificate(ca);
  } catch {
    throw unusable('/ca', 'This is no certificate in PEM.');
  }
}

function unusable(pointer: string, message: string): KallioError {
  return new KallioError('WEBHOOK_UNUSABLE' satisfies ServerCode, message, { pointer });
}
