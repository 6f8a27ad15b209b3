import { KallioError, type Refusal, refusal } from '@kallio/codec';
import type { ProtocolCode } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { ServerConfig } from '../setup/config.ts';
import { type Claim, type ProvenClaim, superseded } from '../store/claims.ts';
import type { Store } from '../store/store.ts';

/** A claim that proved its TPM, and what may admit it. */
interface Candidate {
  readonly proven: ProvenClaim;
  readonly joinToken: Uint8Array | undefined;
}

/**
 * Decides on a proven claim; call inside a transaction. One TPM is one attester and one attester one TPM: a claim
 * that clashes with an admitted one is held for the operator, and the admitted one keeps working untouched.
 */
export function admit(
  store: Store,
  config: ServerConfig,
  { proven, joinToken }: Candidate,
  now: number,
): Claim {
  const { claims } = store;
  const holder = claims.admittedAs(proven.attester);
  // The same TPM again with the same keys: nothing new is claimed, so nothing is needed.
  if (
    holder !== undefined &&
    holder.ek === proven.ek &&
    holder.ak === proven.ak &&
    holder.kind === proven.kind
  ) {
    return holder;
  }
  const clash = clashOf(store, proven);
  if (clash !== undefined) return wait(store, config, proven, 'held', clash, now);
  const by = ticketOf(store, config, proven, joinToken, now);
  if (by === undefined) return wait(store, config, proven, 'pending', PENDING, now);
  return putInForce(store, proven, by, now);
}

/** Why the operator must look at this claim before anything or anyone else admits it. */
function clashOf({ claims }: Store, proven: ProvenClaim): Refusal | undefined {
  const holder = claims.admittedAs(proven.attester);
  // Stops a machine from taking over another's name, however good its token.
  if (holder !== undefined && holder.ek !== proven.ek) {
    return refusal(
      'ENROL_ATTESTER_TAKEN' satisfies ServerCode,
      `Another TPM is admitted as ${proven.attester}; the operator decides between them.`,
      { pointer: `ek:${holder.ek}` },
    );
  }
  // Stops one machine from standing for many.
  const other = claims.admittedTpm(proven.ek);
  if (other !== undefined && other.attester !== proven.attester) {
    return refusal(
      'ENROL_TPM_TAKEN' satisfies ServerCode,
      `This TPM is admitted as ${other.attester} already; the operator decides which it is.`,
      { pointer: `ek:${other.ek}` },
    );
  }
  // Stops the same by two EKs of one TPM: an AK is in one TPM only. (One that makes an AK for each is not seen so.)
  const sameAk = claims.admittedAk(proven.ak);
  if (sameAk !== undefined && sameAk.ek !== proven.ek) {
    return refusal(
      'ENROL_TPM_TAKEN' satisfies ServerCode,
      `This AK is admitted as ${sameAk.attester}, with another EK of the same TPM.`,
      { pointer: `ek:${sameAk.ek}` },
    );
  }
  // Stops a machine that was sent away from coming back by a token that is still about.
  if (claims.refusedByOperator(proven.ek)) {
    return refusal('ENROL_EK_REFUSED' satisfies ServerCode, 'The operator refused this TPM before.');
  }
  return undefined;
}

const PENDING = refusal('ENROL_PENDING' satisfies ServerCode, 'This claim waits for the operator.');

/** What admits this claim without the operator: the allow-list, or one use of its join token. */
function ticketOf(
  store: Store,
  config: ServerConfig,
  proven: ProvenClaim,
  joinToken: Uint8Array | undefined,
  now: number,
): string | undefined {
  const listed = config.enrolment.ekAllowList.some(
    (entry) => entry.ek === proven.ek && (entry.attester === undefined || entry.attester === proven.attester),
  );
  if (listed) return 'ek-allow-list';
  if (joinToken === undefined) return undefined;
  return store.joinTokens.spend(joinToken, proven.kind, proven.attester, now) ? 'join-token' : undefined;
}

const DAY_MS = 86_400_000;

function wait(
  store: Store,
  config: ServerConfig,
  proven: ProvenClaim,
  state: 'pending' | 'held',
  reason: Refusal,
  now: number,
): Claim {
  const waiting = store.claims.waitingOf(proven.ek);
  // Asking again changes nothing, so a retry does not fill the operator's list.
  const same = waiting.find(
    (claim) => claim.attester === proven.attester && claim.ak === proven.ak && claim.kind === proven.kind,
  );
  if (same !== undefined) return same;
  // Claims are kept for ever, so how many one TPM may make without anybody's word is bounded, in number and by day.
  const older = waiting.find((claim) => claim.attester === proven.attester);
  const tooManyWait = older === undefined && waiting.length >= config.enrolment.maxWaitingPerTpm;
  if (
    tooManyWait ||
    store.claims.countSince(proven.ek, now - DAY_MS) >= config.enrolment.maxClaimsPerTpmAndDay
  ) {
    throw new KallioError(
      'ENROL_TOO_MANY_CLAIMS' satisfies ServerCode,
      'Too many claims of this TPM wait for the operator, or were made today.',
    );
  }
  // A newer AK on the same name replaces the older one that nobody has looked at.
  if (older !== undefined) store.claims.decide(older.claim, 'superseded', superseded(), 'enrolment', now);
  return store.claims.insert(proven, state, reason, 'enrolment', now);
}

function putInForce(store: Store, proven: ProvenClaim, by: string, now: number): Claim {
  const before = store.claims.admittedAs(proven.attester);
  // A new AK of the same TPM (reinstalled, cleared): a new admission; the old one stays as history.
  if (before !== undefined) store.claims.decide(before.claim, 'superseded', superseded(), by, now);
  for (const waiting of store.claims.waitingOf(proven.ek)) {
    if (waiting.attester === proven.attester) {
      store.claims.decide(waiting.claim, 'superseded', superseded(), by, now);
    }
  }
  return store.claims.insert(proven, 'admitted', undefined, by, now);
}

/**
 * The operator's word on the newest claim of one TPM on one name. Admitting ends whatever admitted claim stands in
 * its way; refusing an admitted one puts it out at once. `by` names the token.
 */
export function decide(
  store: Store,
  attester: string,
  ek: string,
  decision: 'admit' | 'refuse',
  by: string,
  now: number,
): Claim {
  return store.transaction(() => {
    const claim = store.claims.newest(attester, ek);
    if (claim === undefined) {
      throw new KallioError(
        'NOT_FOUND' satisfies ProtocolCode,
        `No TPM with this EK has asked to be ${attester}.`,
      );
    }
    if (claim.state === 'superseded' || (claim.state === 'admitted' && decision === 'admit')) {
      throw new KallioError(
        'CONFLICT' satisfies ProtocolCode,
        `This claim is ${claim.state}; there is nothing to decide.`,
      );
    }
    if (decision === 'refuse') {
      const reason = refusal(
        'ENROL_REFUSED_BY_OPERATOR' satisfies ServerCode,
        'The operator refused this claim.',
      );
      store.claims.decide(claim.claim, 'refused', reason, by, now);
      return { ...claim, state: 'refused', reason };
    }
    for (const inTheWay of [store.claims.admittedAs(attester), store.claims.admittedTpm(ek)]) {
      // One claim may stand in both ways.
      if (inTheWay !== undefined && store.claims.byNumber(inTheWay.claim)?.state === 'admitted') {
        store.claims.decide(inTheWay.claim, 'superseded', superseded(), by, now);
      }
    }
    store.claims.decide(claim.claim, 'admitted', undefined, by, now);
    const { reason: _, ...rest } = claim;
    return { ...rest, state: 'admitted' };
  });
}
