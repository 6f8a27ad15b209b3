import { setImmediate as breathe } from 'node:timers/promises';
import { decodeShape, isDigest, KallioError, parseJson, toBase64, toHex } from '@kallio/codec';
import { decodeImaEntry, EvidenceMessage, readImaLog } from '@kallio/evidence';
import type { AttesterMeasurements, ProtocolCode } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { StoredResult } from '../store/results.ts';
import { isoTime } from '../time.ts';
import { BootLogs, type WholeLogs } from './boot-logs.ts';
import { admittedClaim } from './evidence.ts';
import { evidenceBehind } from './results.ts';
import type { Verifier } from './verifier.ts';

type Kept = Pick<Verifier, 'store' | 'images'>;

/** Results that are read before others get a turn. */
const AT_ONCE = 32;

/** The last authentic evidence that an attester showed outside a session, with the logs of that boot, whole. */
export async function measurementsOf(kept: Kept, attester: string): Promise<AttesterMeasurements> {
  const { claim, akPublic } = admittedClaim(kept.store, attester);
  for await (const result of resultsBefore(kept, claim, Number.MAX_SAFE_INTEGER)) {
    if (isAuthentic(result)) return gather(kept, result, akPublic);
  }
  throw new KallioError(
    'EVIDENCE_NONE' satisfies ServerCode,
    `${attester} has shown no authentic evidence.`,
    {
      hint: `Ask for it: kallio attesters push ${attester}`,
    },
  );
}

/** The same of the evidence behind one result. */
export function measurementsBehind(kept: Kept, digest: string): Promise<AttesterMeasurements> {
  const result = kept.store.results.get(digest);
  const claim = result === undefined ? undefined : kept.store.claims.byNumber(result.claim);
  if (result === undefined || claim === undefined) {
    throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'There is no such result.');
  }
  if (!isAuthentic(result)) {
    throw new KallioError(
      'EVIDENCE_NONE' satisfies ServerCode,
      'Behind this result is no authentic evidence that was shown outside a session.',
    );
  }
  return gather(kept, result, claim.akPublic);
}

/**
 * A boot is recorded of evidence whose quote held, and of no other. What a session asked for is bound to more than a
 * nonce, which whoever takes it could not check again.
 */
function isAuthentic({ record }: StoredResult): boolean {
  return record.boot !== undefined && record.purpose === 'attest';
}

/** The results of a claim that are older than a place, newest first. */
async function* resultsBefore({ store }: Kept, claim: number, place: number): AsyncGenerator<StoredResult> {
  for (let from = place; ; await breathe()) {
    const page = store.results.before(claim, from, AT_ONCE);
    for (const { result } of page) yield result;
    const last = page.at(-1);
    if (last === undefined || page.length < AT_ONCE) return;
    from = last.place;
  }
}

/**
 * Evidence carries of a boot’s logs only what is new, so they are put together from all that was shown in it. They prove
 * nothing by themselves: whoever takes them replays them to the quote, which is in the answer.
 */
async function gather(kept: Kept, last: StoredResult, akPublic: Uint8Array): Promise<AttesterMeasurements> {
  const evidence = messageOf(kept, last);
  if (evidence === undefined) {
    throw new KallioError('EVIDENCE_INCOMPLETE' satisfies ServerCode, 'This evidence is not kept any more.');
  }
  const logs = new BootLogs();
  logs.take(evidence);
  for await (const result of resultsBefore(kept, last.claim, kept.store.results.placeOf(last.digest))) {
    if (logs.complete) break;
    const { boot } = result.record;
    // What was not authentic may be anybody's.
    if (boot === undefined) continue;
    // Another boot has other logs.
    if (boot !== last.record.boot) break;
    const message = messageOf(kept, result);
    if (message !== undefined) logs.take(message);
  }
  const { eventLog, ima, instanceLog } = logs.whole();
  return {
    attester: last.record.attester,
    result: last.digest,
    state: last.record.platform.state,
    at: isoTime(last.at),
    akPublic: toBase64(akPublic),
    evidence,
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima: toBase64(ima) }),
    instanceLog,
    imageFiles: ima === undefined ? [] : imageFiles(kept, ima, instanceLog),
  };
}

function messageOf({ store }: Kept, result: StoredResult): EvidenceMessage | undefined {
  const bytes = evidenceBehind(store, result);
  if (bytes === undefined) return undefined;
  const json = parseJson(bytes, { maxBytes: bytes.length });
  return decodeShape(EvidenceMessage, json, 'STORE_CORRUPT', 'Stored evidence');
}

/** Measured digests that are of files of images which the instance log names: those are no files of the host. */
function imageFiles({ images }: Kept, ima: Uint8Array, { entries }: WholeLogs['instanceLog']): string[] {
  const named = new Set(entries.map(({ event }) => event.image).filter(isDigest));
  const known = new Set([...named].flatMap((image) => [...(images.get(image)?.files.values() ?? [])]));
  const measured = new Set([...readImaLog(ima)].map((entry) => toHex(decodeImaEntry(entry).digest.bytes)));
  return [...measured].filter((digest) => known.has(digest));
}
