import {
  canonicalize,
  type Digest,
  DigestSchema,
  decodeShape,
  Exact,
  Hex,
  parseDigest,
  parseJson,
  type Refusal,
} from '@kallio/codec';
import { Inventory, type LoggedContainer } from '@kallio/evidence';
import { type Static, type TSchema, Type } from 'typebox';
import type { AppraisalCode } from './codes.ts';
import type { KeptSecureBoot } from './secure-boot.ts';
import type { KeptUpdate } from './updates.ts';

/** A boot of an attester, as its TPM tells boots apart. `clock` is in milliseconds of TPM time. */
export interface BootState {
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clock: bigint;
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
}

/**
 * What a verifier keeps of an attester between two pieces of evidence. It holds only what an authentic quote has
 * proved, but for logs that are `unproven`; the next evidence is judged from here on.
 */
export interface Continuity {
  readonly boot: BootState;
  readonly instanceLog: {
    /** Entries judged in this boot. */
    readonly entries: number;
    /** PCR 14 after them, hexadecimal. */
    readonly pcr: string;
    /** Containers that the log has begun and not deleted. */
    readonly containers: readonly LoggedContainer[];
    /** Manifest digests of every image that the log has named in this boot. */
    readonly images: readonly string[];
    /** True while the log was shown in part: no quote covers it yet. */
    readonly unproven?: true;
  };
  /** The firmware's event log of this boot, once it was shown. */
  readonly eventLog?: KeptEventLog;
  /** The kernel's measurement list. */
  readonly ima?: KeptIma;
  /** What ran when it was last shown, so that an inventory in which nothing has changed need not be sent again. */
  readonly inventory?: KeptInventory;
  /** Updates that the policy announces; they outlast a boot, as nothing else here does. */
  readonly updates?: readonly KeptUpdate[];
}

/** An inventory, with the SHA-256 of its JCS. */
export interface KeptInventory {
  readonly digest: Digest;
  readonly value: Inventory;
}

/** What is kept of an event log: enough to judge it again by another policy. */
export interface KeptEventLog {
  /** SHA-256 of the log as it was shown. */
  readonly digest: string;
  /** What it replays to, hexadecimal, by PCR. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** SHA-256 digests of its events, in order. */
  readonly events: readonly { readonly index: number; readonly pcr: number; readonly digest: string }[];
  /** What was wrong with it, whatever the policy. */
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** Its secure boot events, decoded. */
  readonly secureBoot?: KeptSecureBoot;
}

/** What is kept of an IMA log. */
export interface KeptIma {
  readonly entries: number;
  /** PCR 10 after them, hexadecimal. */
  readonly pcr: string;
  /** SHA-256 of the policy (JCS) that they were all judged by. */
  readonly policy: string;
  /** Entries that had no reference value: judged again each time, because an image's may become known later. */
  readonly unmatched: readonly UnmatchedEntry[];
  /** True when there were more of them than are kept. */
  readonly overflow: boolean;
  /** SHA-256 of the data of the entry at `entries`, if one was shown that the quote did not cover yet. */
  readonly ahead?: string;
  /** Ids of announced updates that alone know some of the entries. */
  readonly updates?: readonly string[];
  /** True while the log was shown in part: no quote covers it yet. */
  readonly unproven?: true;
}

/** An entry without reference value. */
export interface UnmatchedEntry {
  readonly index: number;
  readonly name: string;
  /** As reference values are written; `violation` for a violation; the name of a weak algorithm and `:` before its digests. */
  readonly digest: string;
}

/** Most containers that one instance log may hold open. */
export const MAX_CONTAINERS = 4096;

const Phase = Type.Union([
  Type.Literal('created'),
  Type.Literal('running'),
  Type.Literal('paused'),
  Type.Literal('stopping'),
]);
const Counter = Type.Integer({ minimum: 0 });
const Code = Type.Unsafe<AppraisalCode>(Type.String({ pattern: '^[A-Z][A-Z0-9_]{1,63}$' }));
const Big = Type.String({ pattern: '^[0-9]{1,20}$' });

const StoredRefusal = Exact({
  code: Code,
  message: Type.String(),
  pointer: Type.Optional(Type.String()),
  hint: Type.Optional(Type.String()),
});

const StoredEventLog = Exact({
  digest: DigestSchema,
  pcrs: Type.Record(Type.String({ pattern: '^[0-9]{1,2}$' }), Hex(32)),
  events: Type.Array(Exact({ index: Counter, pcr: Counter, digest: Hex(32) })),
  refusals: Type.Array(StoredRefusal),
  secureBoot: Type.Optional(
    Exact({
      flags: Type.Array(Exact({ event: Counter, name: Type.String(), set: Type.Boolean() })),
      databases: Type.Array(
        Exact({
          event: Counter,
          name: Type.String(),
          certificates: Type.Array(Hex(32)),
          hashes: Type.Array(Hex(32)),
          others: Counter,
        }),
      ),
      authorities: Type.Array(Exact({ event: Counter, database: Type.String(), certificate: Hex(32) })),
      refusal: Type.Optional(StoredRefusal),
    }),
  ),
});

const StoredInventory = Exact({ digest: DigestSchema, value: Inventory });

const Stored = Exact({
  version: Type.Literal('kallio-continuity-v1'),
  boot: Exact({
    resetCount: Counter,
    restartCount: Counter,
    clock: Big,
    safe: Type.Boolean(),
    firmwareVersion: Big,
  }),
  instanceLog: Exact({
    entries: Counter,
    pcr: Hex(32),
    containers: Type.Array(
      Exact({
        container: Type.String(),
        instance: Type.String(),
        image: DigestSchema,
        config: Type.Optional(DigestSchema),
        phase: Phase,
        inconsistent: Type.Boolean(),
      }),
    ),
    images: Type.Array(DigestSchema),
    unproven: Type.Optional(Type.Literal(true)),
  }),
  eventLog: Type.Optional(StoredEventLog),
  ima: Type.Optional(
    Exact({
      entries: Counter,
      pcr: Hex(32),
      policy: DigestSchema,
      unmatched: Type.Array(Exact({ index: Counter, name: Type.String(), digest: Type.String() })),
      overflow: Type.Boolean(),
      ahead: Type.Optional(Hex(32)),
      updates: Type.Optional(Type.Array(Type.String())),
      unproven: Type.Optional(Type.Literal(true)),
    }),
  ),
  inventory: Type.Optional(StoredInventory),
  updates: Type.Optional(
    Type.Array(Exact({ id: Type.String(), since: Counter, used: Type.Optional(Counter) })),
  ),
});

/** As text for a store (JCS). */
export function continuityToJson({ boot, ...rest }: Continuity): string {
  // While nothing happens on a machine, these are the same objects from one evidence to the next.
  for (const part of [rest.instanceLog, rest.ima]) {
    if (part !== undefined && !texts.has(part)) texts.set(part, canonicalize(part));
  }
  return canonicalize(
    {
      version: 'kallio-continuity-v1',
      ...rest,
      boot: { ...boot, clock: String(boot.clock), firmwareVersion: String(boot.firmwareVersion) },
    },
    (part) => texts.get(part),
  );
}

/** Parts of continuities in canonical form. */
const texts = new WeakMap<object, string>();

/** From a store; anything that {@link continuityToJson} did not write is `SHAPE_MISMATCH` or `JSON_…`. */
export function continuityFromJson(text: string): Continuity {
  const { version: _, boot, inventory, ...rest } = stored(Stored, text);
  return {
    ...rest,
    boot: { ...boot, clock: BigInt(boot.clock), firmwareVersion: BigInt(boot.firmwareVersion) },
    ...(inventory === undefined ? {} : { inventory: inventoryOf(inventory) }),
  };
}

/** An event log that a store keeps by itself, as JCS. */
export function keptEventLogFromJson(text: string): KeptEventLog {
  return stored(StoredEventLog, text);
}

/** An inventory that a store keeps by itself, as JCS. */
export function keptInventoryFromJson(text: string): KeptInventory {
  return inventoryOf(stored(StoredInventory, text));
}

function inventoryOf({ digest, value }: Static<typeof StoredInventory>): KeptInventory {
  return { digest: parseDigest(digest), value };
}

function stored<S extends TSchema>(schema: S, text: string): Static<S> {
  const json = parseJson(text, { maxBytes: 64 * 1024 * 1024 });
  return decodeShape(schema, json, 'SHAPE_MISMATCH', 'What was kept of an attester');
}
