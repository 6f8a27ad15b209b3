import { canonicalBytes, type Digest, digestOf, Exact, Hex } from '@kallio/codec';
import { INSTANCE_PCR, QUOTED_PCRS } from '@kallio/evidence';
import { type Static, Type } from 'typebox';

const Pcr = Type.Integer({ minimum: 0, maximum: 23 });
const PcrKey = Type.String({ pattern: '^(?:[0-9]|1[0-9]|2[0-3])$' });

/**
 * What an attester's evidence is compared with. A policy can only make a verdict possible: what it has no reference
 * value for is UNKNOWN, and the checks that guard the evidence itself are no part of it.
 */
export const AppraisalPolicy = Exact({
  policy: Type.Literal('kallio-policy-v1'),
  /** Named in every result it led to. Give a changed policy another id. */
  id: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$' }),
  /** What it is for; only a note. */
  kind: Type.Optional(Type.Union([Type.Literal('builder'), Type.Literal('device')])),
  /** The instance log lives in the SHA-256 bank, so that is the bank that is judged. */
  bank: Type.Literal('sha256'),
  /** The PCRs that a quote must cover: these and no others. All of them are judged. */
  pcrs: Type.Array(Pcr, { minItems: 1, maxItems: 24, uniqueItems: true }),
  reference: Exact({
    /** Values that a PCR may have, hexadecimal. A PCR listed here may have no other. */
    pcrs: Type.Record(PcrKey, Type.Array(Hex(32), { minItems: 1, maxItems: 4096 })),
    /** Firmware events by their SHA-256 digest. In a PCR that is named here, every event must be listed. */
    events: Type.Optional(
      Type.Array(
        Exact({
          pcr: Pcr,
          /** What it is, for a person: `kernel 6.1.0-28`. */
          name: Type.String({ minLength: 1, maxLength: 128 }),
          digests: Type.Array(Hex(32), { minItems: 1, maxItems: 4096 }),
          /** True when one of the digests must be there. */
          required: Type.Optional(Type.Boolean()),
        }),
        { maxItems: 4096 },
      ),
    ),
    /** What IMA may measure on the host. Files of images whose instances run need not be listed. */
    ima: Type.Optional(
      Exact({
        /** Digests of files and buffers, SHA-256 or longer; `verity:` and the digest for fs-verity. */
        digests: Type.Array(
          Type.String({ pattern: '^(?:verity:)?(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$' }),
          { minItems: 1, maxItems: 10_000_000 },
        ),
        /** Files whose violations are tolerated. The kernel does not measure which file it was: see docs/formats.md. */
        violations: Type.Optional(
          Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), { maxItems: 4096 }),
        ),
      }),
    ),
    /** Event that only a verified, immutable root leads to: a kernel command line with its dm-verity root hash. */
    verifiedRoot: Type.Optional(
      Exact({ pcr: Pcr, digests: Type.Array(Hex(32), { minItems: 1, maxItems: 4096 }) }),
    ),
  }),
  /** PCRs whose value is not judged, each with the reason, which every result repeats. */
  excluded: Type.Optional(Type.Record(PcrKey, Type.String({ minLength: 1, maxLength: 256 }))),
  /** Tiers of evidence that suffice. */
  tiers: Type.Array(Type.Union([Type.Literal('A'), Type.Literal('B'), Type.Literal('C')]), {
    minItems: 1,
    maxItems: 3,
    uniqueItems: true,
  }),
});
export type AppraisalPolicy = Static<typeof AppraisalPolicy>;

/**
 * A policy for machines whose firmware, kernel and host measure nothing (swtpm without firmware): every PCR but the
 * instance log's must be as reset left it. It proves the TPM and the instance log, and allows tier C, which says so.
 */
export function bareTpmPolicy(id: string, kind?: 'builder' | 'device'): AppraisalPolicy {
  const zero = '00'.repeat(32);
  const pcrs = QUOTED_PCRS.filter((pcr) => pcr !== INSTANCE_PCR);
  return {
    policy: 'kallio-policy-v1',
    id,
    ...(kind === undefined ? {} : { kind }),
    bank: 'sha256',
    pcrs: [...QUOTED_PCRS],
    reference: { pcrs: Object.fromEntries(pcrs.map((pcr) => [String(pcr), [zero]])) },
    tiers: ['A', 'B', 'C'],
  };
}

/** Reference values of the events of one PCR. */
export interface EventReferences {
  /** Name of the reference value, by digest. */
  readonly names: ReadonlyMap<string, string>;
  /** Digests of which one must be there, by name. */
  readonly required: ReadonlyMap<string, ReadonlySet<string>>;
}

/** A policy, ready to be looked things up in. */
export interface CompiledPolicy {
  /** SHA-256 of the policy's JCS: tells a changed policy from the one that earlier entries were judged by. */
  readonly digest: Digest;
  /** Ascending. */
  readonly pcrs: readonly number[];
  readonly reference: ReadonlyMap<number, ReadonlySet<string>>;
  readonly events: ReadonlyMap<number, EventReferences>;
  readonly ima?: { readonly digests: ReadonlySet<string>; readonly violations: ReadonlySet<string> };
  readonly verifiedRoot?: { readonly pcr: number; readonly digests: ReadonlySet<string> };
  readonly excluded: ReadonlyMap<number, string>;
}

const compiled = new WeakMap<AppraisalPolicy, CompiledPolicy>();

/** Compiles a policy once; looking a value up costs the same however many there are. */
export function compilePolicy(policy: AppraisalPolicy): CompiledPolicy {
  let ready = compiled.get(policy);
  if (ready === undefined) {
    ready = compile(policy);
    compiled.set(policy, ready);
  }
  return ready;
}

function compile(policy: AppraisalPolicy): CompiledPolicy {
  const { pcrs, ima, verifiedRoot, events = [] } = policy.reference;
  return {
    digest: digestOf(canonicalBytes(policy)),
    pcrs: policy.pcrs.toSorted((a, b) => a - b),
    reference: new Map(Object.entries(pcrs).map(([pcr, values]) => [Number(pcr), new Set(values)])),
    events: new Map(
      [...Map.groupBy(events, ({ pcr }) => pcr)].map(([pcr, those]) => [pcr, eventReferences(those)]),
    ),
    ...(ima === undefined
      ? {}
      : { ima: { digests: new Set(ima.digests), violations: new Set(ima.violations) } }),
    ...(verifiedRoot === undefined
      ? {}
      : { verifiedRoot: { pcr: verifiedRoot.pcr, digests: new Set(verifiedRoot.digests) } }),
    excluded: new Map(Object.entries(policy.excluded ?? {}).map(([pcr, reason]) => [Number(pcr), reason])),
  };
}

function eventReferences(events: NonNullable<AppraisalPolicy['reference']['events']>): EventReferences {
  return {
    names: new Map(events.flatMap(({ name, digests }) => digests.map((digest) => [digest, name] as const))),
    required: new Map(
      events.filter(({ required }) => required === true).map(({ name, digests }) => [name, new Set(digests)]),
    ),
  };
}
