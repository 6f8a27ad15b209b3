import { type Digest, isDigest } from '@kallio/codec';
import { DigestIndex, setsOfDigests } from '../reference-set/digests.ts';
import type { ReferenceSet } from '../reference-set/set.ts';
import { type BootReferences, compileBoot } from './boot-values.ts';
import { checkPolicy } from './check.ts';
import { policyDigest } from './digest.ts';
import { PathClasses } from './path-classes.ts';
import type { AppraisalPolicy, PathClass, Reference, ReferenceSetName } from './schema.ts';

/** Reference-set files, read, by the digest of the file. Whoever reads them checks that digest. */
export type ReferenceSets = ReadonlyMap<Digest, ReferenceSet>;

/** What IMA may measure. */
export interface ImaReferences {
  readonly classes: PathClasses;
  readonly digests: ReadonlyMap<string, ClassDigests>;
  readonly violations: ReadonlySet<string>;
}

/** Reference values of the files of one class. */
export interface ClassDigests {
  readonly hostOnly: boolean;
  readonly index: DigestIndex;
}

/** A policy, ready to be looked things up in. */
export interface CompiledPolicy {
  /** SHA-256 of the policy's JCS: tells a changed policy from the one that earlier entries were judged by. */
  readonly digest: Digest;
  /** Ascending. */
  readonly pcrs: readonly number[];
  readonly reference: ReadonlyMap<number, ReadonlySet<string>>;
  readonly boot: ReadonlyMap<number, BootReferences>;
  readonly ima?: ImaReferences;
  readonly excluded: ReadonlyMap<number, string>;
  /** Sets that the policy names and nobody brought: what they hold can't be known. */
  readonly missingSets: readonly ReferenceSetName[];
}

const NO_SETS: ReferenceSets = new Map();
const compiled = new WeakMap<
  AppraisalPolicy,
  { readonly sets: ReferenceSets; readonly ready: CompiledPolicy }
>();

/**
 * Compiles a policy once; looking a value up costs the same however many there are. `POLICY_INVALID` for one that
 * contradicts itself.
 */
export function compilePolicy(policy: AppraisalPolicy, sets: ReferenceSets = NO_SETS): CompiledPolicy {
  const known = compiled.get(policy);
  if (known?.sets === sets) return known.ready;
  const ready = compile(policy, sets);
  compiled.set(policy, { sets, ready });
  return ready;
}

function compile(policy: AppraisalPolicy, sets: ReferenceSets): CompiledPolicy {
  checkPolicy(policy);
  const { pcrs = {}, boot, ima } = policy.reference;
  return {
    digest: policyDigest(policy),
    pcrs: policy.pcrs.toSorted((a, b) => a - b),
    reference: new Map(Object.entries(pcrs).map(([pcr, values]) => [Number(pcr), new Set(values)])),
    boot: compileBoot(boot),
    ...(ima === undefined ? {} : { ima: compileIma(ima, sets) }),
    excluded: new Map(Object.entries(policy.excluded ?? {}).map(([pcr, reason]) => [Number(pcr), reason])),
    missingSets: namedSets(policy).filter(({ digest }) => setOf(digest, sets) === undefined),
  };
}

function compileIma(
  { classes, violations }: NonNullable<Reference['ima']>,
  sets: ReferenceSets,
): ImaReferences {
  return {
    classes: new PathClasses(classes),
    digests: new Map(
      classes.map((one) => [one.name, { hostOnly: one.hostOnly === true, index: indexOf(one, sets) }]),
    ),
    violations: new Set(violations),
  };
}

function indexOf({ digests = [], sets: named = [] }: PathClass, sets: ReferenceSets): DigestIndex {
  const files = named.flatMap(({ digest }) => setOf(digest, sets) ?? []);
  return new DigestIndex([...setsOfDigests(digests), ...files]);
}

/** The reference-set files that a policy names. */
export function namedSets(policy: AppraisalPolicy): ReferenceSetName[] {
  return (policy.reference.ima?.classes ?? []).flatMap(({ sets = [] }) => sets);
}

function setOf(digest: string, sets: ReferenceSets): ReferenceSet | undefined {
  return isDigest(digest) ? sets.get(digest) : undefined;
}
