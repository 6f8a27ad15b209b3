import { fromBase64, KallioError, toHex } from '@kallio/codec';
import {
  LOG_CHECKPOINT,
  LOG_TILES,
  logAdd,
  logConsistency,
  logEntry,
  logProof,
  type ProtocolCode,
} from '@kallio/protocol';
import {
  isProvenance,
  parseStatement,
  parseStatementHead,
  signingKeyOf,
  verifyEnvelope,
} from '@kallio/signature';
import { type LogWriter, rekorDsseBody } from '@kallio/tlog';
import type { Mount } from '../http/mount.ts';
import { nameFileManifest } from '../images/naming.ts';
import type { Store } from '../store/store.ts';
import type { Witnessing } from './witnessing.ts';

/** Routes of the transparency log. Reading is for everybody: what only some can see convinces nobody. */
export function logRoutes(mount: Mount, store: Store, log: LogWriter, witnessing: Witnessing): void {
  mount.route(
    logAdd,
    async ({ body }) => {
      const key = signingKeyOf(fromBase64(body.publicKey));
      // The log vouches for nobody, but what is no image signature or provenance, or doesn't hold by its own key, is junk.
      verifyEnvelope(body.envelope, key);
      const payload = fromBase64(body.envelope.payload);
      const statement = isProvenance(payload) ? undefined : parseStatement(parseStatementHead(payload));
      const entry = await log.add(rekorDsseBody(body.envelope, key.spki));
      if (statement !== undefined) nameFileManifest(store, statement, key.spki, entry.logIndex);
      return entry;
    },
    { bodyLimit: 2 * 1024 * 1024 },
  );
  mount.route(logEntry, ({ params }) => log.entry(params.index));
  mount.route(logProof, ({ params }) => witnessing.proof(params.index));
  mount.route(logConsistency, ({ query }) => ({ hashes: log.consistency(query.from, query.to).map(toHex) }));
  mount.app.get<{ Querystring: { rendering?: string } }>(
    LOG_CHECKPOINT,
    {
      schema: {
        summary: 'The newest checkpoint, as a signed note; ?rendering=sigstore for the other rendering',
      },
    },
    async (request, reply) => {
      await mount.authenticate(request);
      const { rendering } = request.query;
      if (rendering !== undefined && rendering !== 'sigstore' && rendering !== 'c2sp') {
        throw new KallioError('REQUEST_INVALID' satisfies ProtocolCode, 'A rendering is sigstore or c2sp.');
      }
      // Never cached: a client that asks for the newest head must not be told an old one.
      return reply
        .type('text/plain; charset=utf-8')
        .header('cache-control', 'no-store')
        .send(log.checkpoint(rendering ?? 'c2sp'));
    },
  );
  mount.app.get<{ Params: { '*': string } }>(
    `${LOG_TILES}/*`,
    { schema: { summary: 'Tiles, as C2SP tlog-tiles lays them out' } },
    async (request, reply) => {
      await mount.authenticate(request);
      const path = request.params['*'];
      const tile = log.tile(`tile/${path}`);
      if (tile === undefined)
        throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'The log has no such tile.');
      // A full tile never changes; a partial one is replaced by a fuller one of another name.
      return reply
        .type('application/octet-stream')
        .header(
          'cache-control',
          path.includes('.p/') ? 'public, max-age=3600' : 'public, max-age=31536000, immutable',
        )
        .send(Buffer.from(tile));
    },
  );
}
