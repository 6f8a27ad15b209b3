import { dottedEar, signEar } from '@kallio/appraisal';
import { decodeShape, type Json, KallioError, parseDigest, parseJson, toBase64 } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { type ProtocolCode, type Reply, resultMaterial, resultShow } from '@kallio/protocol';
import { Type } from 'typebox';
import type { ServerCode } from '../codes.ts';
import { callingAttester } from '../http/caller.ts';
import type { Mount } from '../http/mount.ts';
import type { StoredResult } from '../store/results.ts';
import type { Store } from '../store/store.ts';
import type { Verifier } from './verifier.ts';

const LIMITS = { maxBytes: 64 * 1024 * 1024 };

/** Routes of results: what was signed, and what it was made from. */
export function resultRoutes(mount: Mount, { store, keys }: Verifier): void {
  mount.route(resultShow, ({ params, query }, context) => {
    const { ear, record } = resultFor(store, params.digest, callingAttester(context));
    if (query.claims !== 'dotted') return { ear, record };
    const { key, keyId } = keys.active;
    return { ear: signEar(dottedEar(ear), { key, keyId }), record };
  });
  mount.route(resultMaterial, ({ params }) => materialOf(store, resultFor(store, params.digest, undefined)));
}

/** A result by its digest, for those whom it concerns: people, and the attester it speaks of. */
function resultFor(store: Store, digest: string, attester: string | undefined): StoredResult {
  const result = store.results.get(digest);
  // An attester is not told whether another one's result exists.
  if (result === undefined || (attester !== undefined && result.record.attester !== attester)) {
    throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'There is no such result.');
  }
  return result;
}

/** The evidence message, in canonical JSON, that a result was made from; it may be no longer kept. */
export function evidenceBehind(store: Store, { digest, record }: StoredResult): Uint8Array | undefined {
  return store.results.restsOn(digest).evidence ?? store.evidence.get(parseDigest(record.evidence));
}

/** What a result was made from; `RESULT_MATERIAL_MISSING` where a part of it was not kept, or is not any more. */
function materialOf(store: Store, result: StoredResult): Reply<typeof resultMaterial> {
  const { ear, record } = result;
  const evidence = evidenceBehind(store, result);
  const { basis } = record;
  if (evidence === undefined || basis === undefined) throw missing();
  const policy = store.basis.policy(basis.policy);
  const root = store.results.restsOn(result.digest).previous;
  const previous = root === undefined ? undefined : store.basis.state(root);
  if (policy === undefined || (basis.previous !== undefined && previous === undefined)) throw missing();
  const images = Object.entries(basis.images).map(([image, fileManifest]): [string, Json] => {
    const bytes = store.images.get(parseDigest(fileManifest));
    if (bytes === undefined) throw missing();
    return [image, parseJson(bytes, LIMITS)];
  });
  const message = decodeShape(
    EvidenceMessage,
    parseJson(evidence, LIMITS),
    'STORE_CORRUPT',
    'Stored evidence',
  );
  const eventLog = message.eventLog ?? shownBefore(store, previous);
  return {
    ear,
    record,
    evidence: message,
    ...(eventLog === undefined ? {} : { eventLog }),
    policy,
    ...(previous === undefined ? {} : { previous }),
    images: Object.fromEntries(images),
  };
}

const KeptLog = Type.Object({ eventLog: Type.Optional(Type.Object({ digest: Type.String() })) });

/** The event log that was shown earlier in the boot. */
function shownBefore(store: Store, previous: Json | undefined): string | undefined {
  if (previous === undefined) return undefined;
  const { eventLog } = decodeShape(KeptLog, previous, 'STORE_CORRUPT', 'What was kept of an attester');
  const bytes = eventLog === undefined ? undefined : store.basis.eventLog(eventLog.digest);
  return bytes === undefined ? undefined : toBase64(bytes);
}

function missing(): KallioError {
  return new KallioError(
    'RESULT_MATERIAL_MISSING' satisfies ServerCode,
    'What this result was made from is not here (any more).',
    {
      hint: 'It is kept for retention.days, and for as long as the result is an attester’s last; of results that said nothing new, one an hour.',
    },
  );
}
