import { KallioError } from '@kallio/codec';
import { DEVICE_STREAM, deviceReport } from '@kallio/protocol';
import { type Authenticate, attesterOf, requireAccess, type Streams, serve } from '@kallio/protocol/serve';
import type { FastifyInstance } from 'fastify';
import type { Lifecycle } from '../lifecycle/lifecycle.ts';
import type { Store } from '../store/store.ts';

/** A stream is no way to outlive a client certificate: devices come back with a new one. */
const STREAM_MS = 600_000;

/** Between orchestrator and devices: orders go out over a stream that the device opened, reports come in. */
export function deviceRoutes(
  app: FastifyInstance,
  authenticate: Authenticate,
  parts: { readonly store: Store; readonly lifecycle: Lifecycle; readonly streams: Streams },
): void {
  const { store, lifecycle, streams } = parts;
  app.get(
    DEVICE_STREAM,
    { schema: { summary: 'Server-sent events to a device: its orders' } },
    async (request, reply) => {
      const principal = await authenticate(request);
      requireAccess(principal, ['attester']);
      if (principal.kind !== 'attester') throw new KallioError('FORBIDDEN', 'Only a device has a stream.');
      reply.hijack();
      streams.open(principal.attester, reply.raw, STREAM_MS);
      // What it has not answered it is told again: it knows an order by its id.
      for (const { order } of store.orders.openOf(principal.attester)) {
        streams.send(principal.attester, 'order', order);
      }
    },
  );
  serve(app, deviceReport, authenticate, ({ body }, context) => {
    lifecycle.report(attesterOf(context), body);
    return {};
  });
}
