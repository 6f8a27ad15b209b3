import { borrowUtf8, canonicalBytes, canonicalize, type Digest, digestOfText } from '@kallio/codec';
import type { PartDigests } from './binding.ts';
import { type KnownAk, lastAk } from './known-ak.ts';
import type { EvidenceMessage } from './message.ts';
import { writeOffered } from './quoted-pcrs.ts';

/** An evidence message as canonical JSON. */
export interface WrittenMessage {
  readonly bytes: Uint8Array;
  /** Of those parts that its quote is bound to by a digest of their canonical JSON. */
  readonly digests: PartDigests;
}

/**
 * Writes a message, each of its parts once. `akPublic` is whose it says to be: what that AK's last one held is known. `text`
 * is its canonical form, where whoever read it has that: it is taken for it.
 */
export function writeMessage(message: EvidenceMessage, akPublic: Uint8Array, text?: string): WrittenMessage {
  const ak = lastAk(akPublic);
  const instanceLog = canonicalize(message.instanceLog);
  const inventory = canonicalize(message.inventory);
  if (text !== undefined) return { bytes: borrowUtf8(text), digests: digestsOf(instanceLog, inventory, ak) };
  const pcrs = writeOffered(message.pcrs, ak?.quoted);
  const bytes = canonicalBytes(message, (part) => {
    if (part === message.pcrs) return pcrs;
    if (part === message.instanceLog) return instanceLog;
    return part === message.inventory ? inventory : undefined;
  });
  return { bytes, digests: digestsOf(instanceLog, inventory, ak) };
}

/** Parts of a message in canonical JSON, with its digest. */
export interface WrittenParts {
  readonly instanceLog: WrittenPart;
  readonly inventory: WrittenPart;
}

interface WrittenPart {
  readonly text: string;
  readonly digest: Digest;
}

/** What is longer is not kept: it is of a machine on which something happens. */
const MAX_KEPT = 256;

function digestsOf(instanceLog: string, inventory: string, ak: KnownAk | undefined): PartDigests {
  const before = ak?.shown;
  if (before?.instanceLog.text === instanceLog && before.inventory.text === inventory) {
    return { instanceLog: before.instanceLog.digest, inventory: before.inventory.digest };
  }
  const digests = { instanceLog: digestOfText(instanceLog), inventory: digestOfText(inventory) };
  if (ak !== undefined && instanceLog.length <= MAX_KEPT && inventory.length <= MAX_KEPT) {
    ak.shown = {
      instanceLog: { text: instanceLog, digest: digests.instanceLog },
      inventory: { text: inventory, digest: digests.inventory },
    };
  }
  return digests;
}
