import { digestOfText, fromBase64, type Refusal, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import type { AppraisalBasis, AppraisalRecord, SubjectState } from '@kallio/protocol';
import type { LateWrite } from '@kallio/store';
import { isTold, tellChanges } from '../events/changes.ts';
import type { Claim } from '../store/claims.ts';
import type { RestsOn, StoredResult, UnsignedResult } from '../store/results.ts';
import type { Store } from '../store/store.ts';
import type { Judged } from './appraise.ts';
import { SIGNED } from './steady-commits.ts';
import type { Verifier } from './verifier.ts';

/** Longest list of reasons that is kept; the first ones say what is wrong. */
const MAX_REASONS = 64;

/** Stores evidence, result and continuity as one; call inside a transaction. */
export function recordResult(
  { store, config, presence }: Verifier,
  judged: Judged,
  ear: string,
  session: string | undefined,
  now: Date,
): StoredResult {
  const { claim, appraisal } = judged;
  // A session keeps its evidence for as long as itself.
  if (session !== undefined)
    store.evidence.put(appraisal.evidenceDigest, claim.attester, now.getTime(), appraisal.evidence);
  const { unsigned, restsOn } = resultOf(store, judged, session, now);
  const result = { digest: digestOfText(ear), ear, ...unsigned };
  const changed = tellChanges(store, config, claim, result);
  store.results.insert(result, restsOn, !changed && session === undefined && saysNothingNew(judged));
  presence.heard(claim.attester);
  // What did not hold proves nothing about the attester: anybody may have sent it.
  if (appraisal.authentic && appraisal.next !== undefined) {
    store.continuity.set(claim.claim, judged.version, appraisal.next, result.digest);
  }
  return result;
}

/** What there is to write of steady evidence once its result is signed, and what is recorded of it. */
export interface SteadyRecord {
  readonly record: AppraisalRecord;
  readonly writes: readonly LateWrite[];
}

/**
 * What {@link recordResult} would write, nonce included, where that is all known beforehand: evidence outside sessions that says
 * nothing new of a machine that is well. Undefined for any other. Its rows hold for what stands in the store now, and are
 * not written once that is another.
 */
export function steadyRecord(
  { store, config }: Verifier,
  judged: Judged,
  now: Date,
): SteadyRecord | undefined {
  const { claim, appraisal, nonce, previous, version } = judged;
  const { next } = appraisal;
  if (!appraisal.authentic || next === undefined || !saysNothingNew(judged)) return undefined;
  // Parts that are new would have to be written first, and could be tidied up again before they are in use.
  if (next.eventLog !== previous?.eventLog || next.inventory !== previous?.inventory) return undefined;
  const { unsigned, restsOn } = resultOf(store, judged, undefined, now);
  const told = store.standings.get(claim.claim);
  if (!isTold(told, config, unsigned)) return undefined;
  return {
    record: unsigned.record,
    writes: [
      store.spentNonces.spending(nonce.bytes, nonce.expiresAt),
      store.results.insertingSteady({ ...unsigned, ...SIGNED }, restsOn, told),
      store.continuity.replacing(claim.claim, version, next, SIGNED.digest),
    ],
  };
}

/** The result as it is stored once it is signed. What it rests on beside its evidence is kept first. */
function resultOf(
  store: Store,
  judged: Judged,
  session: string | undefined,
  now: Date,
): { readonly unsigned: UnsignedResult; readonly restsOn: RestsOn } {
  const { claim, appraisal } = judged;
  const { basis, previous } = basisOf(store, judged, now);
  const unsigned = { claim: claim.claim, at: now.getTime(), record: recordOf(judged, session, basis) };
  const restsOn = {
    ...(session === undefined ? { evidence: appraisal.evidence } : {}),
    ...(previous === undefined ? {} : { previous }),
  };
  return { unsigned, restsOn };
}

/** True for evidence of a machine that is well, on which nothing has happened since the evidence before. */
function saysNothingNew({ appraisal, message, previous }: Judged): boolean {
  const subjects = [appraisal.platform, ...appraisal.instances.values()];
  return (
    subjects.every(({ state }) => state === 'VERIFIED') &&
    previous?.boot.resetCount === appraisal.boot?.resetCount &&
    showsNothingNew(message)
  );
}

/** True for a message that has nothing to show but its quote. */
export function showsNothingNew({ eventLog, ima, instanceLog, inventory }: EvidenceMessage): boolean {
  return (
    eventLog === undefined &&
    ima === undefined &&
    instanceLog.entries.length === 0 &&
    'unchanged' in inventory
  );
}

/** Keeps what an appraisal was made from, and says under which digests; with the root of what was kept before. */
function basisOf(
  store: Store,
  { claim, message, policy, asked, endorsement, images, previous }: Judged,
  now: Date,
): { readonly basis: AppraisalBasis; readonly previous?: string } {
  const { purpose: _, ...expected } = asked;
  if (message.eventLog !== undefined) store.basis.putEventLog(fromBase64(message.eventLog), now.getTime());
  const kept = previous === undefined ? undefined : store.basis.putState(previous, now.getTime());
  const basis = {
    policy: store.basis.putPolicy(policy),
    ...(kept === undefined ? {} : { previous: kept.digest }),
    ak: akText(claim),
    endorsement,
    images: Object.fromEntries(
      [...images].flatMap((image) => {
        const fileManifest = store.images.fileManifestOf(image);
        return fileManifest === undefined ? [] : [[image, fileManifest]];
      }),
    ),
    expected: { ...expected, nonce: message.nonce },
    appraisedAt: now.toISOString(),
  };
  return kept === undefined ? { basis } : { basis, previous: kept.root };
}

const akTexts = new WeakMap<Claim, string>();

function akText(claim: Claim): string {
  let text = akTexts.get(claim);
  if (text === undefined) {
    text = toBase64(claim.akPublic);
    akTexts.set(claim, text);
  }
  return text;
}

function recordOf(
  { appraisal, claim, message, policy }: Judged,
  session: string | undefined,
  basis: AppraisalBasis,
): AppraisalRecord {
  const used = (appraisal.platform.updates ?? []).filter(({ state }) => state === 'in-use');
  const updates = used.map(({ id }) => id);
  const instances: Record<string, SubjectState> = Object.create(null);
  for (const [id, instance] of appraisal.instances) {
    instances[id] = { state: instance.state, reasons: reasonsOf(instance.refusals) };
  }
  return {
    attester: claim.attester,
    purpose: message.purpose,
    ...(session === undefined ? {} : { session }),
    policy: policy.id,
    platform: {
      state: appraisal.platform.state,
      ...(appraisal.platform.tier === undefined ? {} : { tier: appraisal.platform.tier }),
      reasons: reasonsOf(appraisal.platform.refusals),
    },
    limits: [...appraisal.platform.limits],
    instances,
    ...(appraisal.boot === undefined ? {} : { boot: appraisal.boot.resetCount }),
    evidence: appraisal.evidenceDigest,
    ...(updates.length === 0 ? {} : { updates }),
    basis,
  };
}

function reasonsOf(refusals: readonly Refusal[]): Refusal[] {
  return refusals.slice(0, MAX_REASONS).map((r) => ({ ...r }));
}
