import { Base64, DigestSchema, Exact, Hex } from '@kallio/codec';
import { type Static, Type } from 'typebox';

/** The name of an attester: a DNS-like label sequence, so that it fits a SPIFFE id and a file name. */
export const AttesterId = Type.String({ pattern: '^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$' });

/** Why an attester shows evidence. Part of what its quote is bound to, so evidence can't serve another purpose. */
export const Purpose = Type.Union([
  Type.Literal('transport-key'),
  Type.Literal('attest'),
  Type.Literal('session-open'),
  Type.Literal('session-attest'),
  Type.Literal('session-close'),
]);
export type Purpose = Static<typeof Purpose>;

/** A place in a log. Past 2^53 numbers have no successor, and two entries could claim one place. */
const Place = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** A TPM2_Quote or TPM2_Certify answer: TPMS_ATTEST and TPMT_SIGNATURE, as the TPM marshals them. */
export const Attestation = Exact({ attest: Base64(4096), signature: Base64(1024) });
export type Attestation = Static<typeof Attestation>;

/** PCR values of one bank, by PCR number. Only those that the signed selection names. */
export const PcrBank = Exact({
  bank: Type.Union([Type.Literal('sha256'), Type.Literal('sha384')]),
  values: Type.Record(
    Type.String({ pattern: '^(?:[0-9]|1[0-9]|2[0-3])$' }),
    Type.String({ pattern: '^(?:[0-9a-f]{64}|[0-9a-f]{96})$' }),
    { additionalProperties: false },
  ),
});
export type PcrBank = Static<typeof PcrBank>;

/** What the runtime did with an instance. */
export const InstanceVerb = Type.Union([
  Type.Literal('create'),
  Type.Literal('start'),
  Type.Literal('exec'),
  Type.Literal('kill'),
  Type.Literal('delete'),
  Type.Literal('update'),
  Type.Literal('pause'),
  Type.Literal('resume'),
  Type.Literal('checkpoint'),
  Type.Literal('restore'),
]);
export type InstanceVerb = Static<typeof InstanceVerb>;

/** One event of the instance log, as the agent decided it before the runtime acted. */
export const InstanceEvent = Exact({
  verb: InstanceVerb,
  /** The instance's name: the orchestrator's id, or the container id when somebody else asked. */
  instance: Type.String({ minLength: 1, maxLength: 128 }),
  /** The runtime's container id. */
  container: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$' }),
  /** Manifest digest of the verified image. */
  image: DigestSchema,
  /** SHA-256 of the exact config.json (create, restore) or process document (exec) handed to the runtime. */
  config: Type.Optional(DigestSchema),
});
export type InstanceEvent = Static<typeof InstanceEvent>;

/**
 * An entry of the instance log. PCR 14 is extended with the commitment; who holds salt and event can open it, so a
 * tenant can be shown its own entries and nothing of its neighbours'.
 */
export const InstanceEntry = Exact({
  seq: Place,
  salt: Hex(32),
  event: InstanceEvent,
});
export type InstanceEntry = Static<typeof InstanceEntry>;

/** What is running now, as the kernel shows it: not what the runtime says. */
export const Inventory = Exact({
  /** `machine`: every container on it. Otherwise only those whose root lies under this storage folder. */
  scope: Type.String({ maxLength: 4096 }),
  containers: Type.Array(
    Exact({
      /** Container id by its root mount or cgroup. */
      container: Type.String({ minLength: 1, maxLength: 256 }),
      processes: Type.Array(
        Exact({
          /** A pid_t. */
          pid: Type.Integer({ minimum: 1, maximum: 0x7fff_ffff }),
          /** Path of the executable inside the container. */
          executable: Type.String({ maxLength: 4096 }),
          /** SHA-256 of the executable that is mapped, read through the kernel. */
          sha256: Hex(32),
        }),
        { maxItems: 4096 },
      ),
    }),
    { maxItems: 1024 },
  ),
  /** Files of running instances that are not what their image's file manifest says. */
  changed: Type.Array(
    Exact({ container: Type.String({ maxLength: 256 }), path: Type.String({ maxLength: 4096 }) }),
    { maxItems: 1024 },
  ),
});
export type Inventory = Static<typeof Inventory>;

/** There is more of this log than one message takes: no quote covers the entries until the last of them was shown. */
const More = Type.Optional(Type.Literal(true));

/** One evidence message: one attester, one moment. `docs/formats.md` explains it field by field. */
export const EvidenceMessage = Exact({
  version: Type.Literal('kallio-evidence-v1'),
  purpose: Purpose,
  attester: AttesterId,
  nonce: Hex(32),
  quote: Attestation,
  pcrs: Type.Array(PcrBank, { minItems: 1, maxItems: 2 }),
  /** TCG firmware event log, whole; absent on a machine whose firmware measures nothing, or when it was shown already. */
  eventLog: Type.Optional(Base64(1024 * 1024)),
  /**
   * IMA measurement list (kernel's binary form) from entry `from` on; absent where the kernel has no IMA, or when it has
   * not grown. `more`: it goes on past these entries, in the next message.
   */
  ima: Type.Optional(Exact({ from: Place, entries: Base64(16 * 1024 * 1024), more: More })),
  /** Instance log from entry `from` on. */
  instanceLog: Exact({
    from: Place,
    entries: Type.Array(InstanceEntry, { maxItems: 10_000 }),
    more: More,
  }),
  /** What runs now; or the digest (JCS) of the inventory shown before, where nothing has changed. */
  inventory: Type.Union([Inventory, Exact({ unchanged: DigestSchema })]),
});
export type EvidenceMessage = Static<typeof EvidenceMessage>;
