import { canonicalBytes, type Digest, digestOf, fromHex, toBase64, toHex } from '@kallio/codec';
import {
  type Binding,
  type EvidenceMessage,
  type Inventory,
  type Purpose,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
} from '@kallio/evidence';
import type { Held } from '@kallio/protocol';
import type { TpmIdentity } from './identity/identity.ts';
import type { InstanceLog } from './instances/log.ts';
import type { ImaPiece } from './measurements/ima-log.ts';
import type { Measurements } from './measurements/measurements.ts';

/** What the verifier asked for. */
export interface Question {
  readonly purpose: Purpose;
  readonly nonce: string;
  /** What the verifier has and need not be shown again, in which boot. */
  readonly from: Held;
  readonly session?: string;
  readonly subject?: Digest;
  readonly statement?: Digest;
  readonly signingKey?: Digest;
  readonly tlsKey?: Digest;
}

/** Where evidence comes from. */
export interface Sources {
  readonly attester: string;
  readonly identity: Pick<TpmIdentity, 'quote'>;
  readonly instanceLog: Pick<InstanceLog, 'entries' | 'resetCount'>;
  readonly inventory: () => Promise<Inventory>;
  /** Absent where this machine's firmware and kernel do not measure to this TPM. */
  readonly measurements: Measurements | undefined;
}

/** An evidence message. */
export interface Gathered {
  readonly message: EvidenceMessage;
  /** True when logs go on past it: show the next one at once. */
  readonly more: boolean;
}

type Parts = Pick<EvidenceMessage, 'eventLog' | 'ima' | 'instanceLog' | 'inventory'>;

/** The most that one message shows of a log, so that a verifier holds little of it at a time. */
const MAX_IMA_BYTES = 8 * 1024 * 1024;
const MAX_INSTANCE_ENTRIES = 8192;
/** A smaller inventory is sent as it is: its digest would not be shorter. */
const SMALL_INVENTORY = 128;
const ATTEMPTS = 5;

/**
 * Gathers one evidence message: what the verifier does not have yet of the logs first, then the quote over their
 * digests. Where a log has grown meanwhile, the quote may have moved past what was read: read and quote again. A log that
 * will not keep still, or is longer than one message, is shown in part (`more`), and no quote covers it until its end.
 */
export async function gatherEvidence(
  sources: Sources,
  question: Question,
  limits: { readonly imaBytes?: number; readonly instanceEntries?: number } = {},
): Promise<Gathered> {
  const { attester, identity, instanceLog, measurements } = sources;
  const { imaBytes = MAX_IMA_BYTES, instanceEntries = MAX_INSTANCE_ENTRIES } = limits;
  for (let attempt = 1; ; attempt++) {
    const count = instanceLog.entries.length;
    const { from } = question;
    // An instance log that is shorter than what the verifier has is that of another start (TPM Restart).
    const sameBoot = from.boot === instanceLog.resetCount && count >= from.instanceLog;
    const held: Held = sameBoot ? from : { ima: 0, instanceLog: 0 };
    const ima = await measurements?.ima.read(held.ima, imaBytes);
    const firmware = await measurements?.firmware();
    const end = Math.min(count, held.instanceLog + instanceEntries);
    const inventory = await inventoryPart(sources, held);
    const parts = (last: boolean): Parts => ({
      ...(firmware === undefined || firmware.digest === held.eventLog ? {} : { eventLog: firmware.text }),
      ...(ima === undefined || (ima.entries.length === 0 && ima.from > 0)
        ? {}
        : {
            ima: {
              from: ima.from,
              entries: toBase64(ima.entries),
              ...(ima.more || last ? { more: true } : {}),
            },
          }),
      instanceLog: {
        from: held.instanceLog,
        entries: instanceLog.entries.slice(held.instanceLog, end),
        ...(end < count || last ? { more: true } : {}),
      },
      inventory,
    });
    const last = attempt === ATTEMPTS;
    const shown = parts(last);
    const quote = await identity.quote(QUOTED_PCRS, qualifyingData(bindingOf(attester, question, shown)));
    const grown = instanceLog.entries.length !== count || (await hasGrown(measurements, ima));
    if (grown && !last) continue;
    return {
      more: grown || ima?.more === true || end < count,
      message: {
        version: 'kallio-evidence-v1',
        purpose: question.purpose,
        attester,
        nonce: toHex(fromHex(question.nonce, 32)),
        quote: { attest: toBase64(quote.attest), signature: toBase64(quote.signature) },
        pcrs: [
          {
            bank: 'sha256',
            values: Object.fromEntries([...quote.values].map(([pcr, value]) => [String(pcr), toHex(value)])),
          },
        ],
        ...shown,
      },
    };
  }
}

function bindingOf(attester: string, question: Question, parts: Parts): Binding {
  const { purpose, nonce, session, subject, statement, signingKey, tlsKey } = question;
  return {
    purpose,
    attester,
    nonce,
    parts: partsOf(parts),
    ...(session === undefined ? {} : { session }),
    ...(subject === undefined ? {} : { subject }),
    ...(statement === undefined ? {} : { statement }),
    ...(signingKey === undefined ? {} : { signingKey }),
    ...(tlsKey === undefined ? {} : { tlsKey }),
  };
}

/** Has the IMA log more entries than the piece that was read to its end? */
async function hasGrown(
  measurements: Measurements | undefined,
  piece: ImaPiece | undefined,
): Promise<boolean> {
  if (measurements === undefined || piece === undefined || piece.more) return false;
  return ((await measurements.ima.count()) ?? piece.end) !== piece.end;
}

/** What runs now; by its digest where the verifier has the same already. */
async function inventoryPart(sources: Sources, held: Held): Promise<Parts['inventory']> {
  const inventory = await sources.inventory();
  const bytes = canonicalBytes(inventory);
  if (bytes.length <= SMALL_INVENTORY || held.inventory === undefined) return inventory;
  const digest = digestOf(bytes);
  return digest === held.inventory ? { unchanged: digest } : inventory;
}
