import { type Digest, isDigest } from '@kallio/codec';
import { DigestIndex, setsOfDigests } from '../reference-set/digests.ts';
import type { ReferenceSet } from '../reference-set/set.ts';
import { type BootReferences, compileBoot } from './boot-values.ts';
import { checkPolicy } from './check.ts';
import { policyDigest } from './digest.ts';
import { PathClasses } from './path-classes.ts';
import type { AppraisalPolicy, PathClass, Reference, ReferenceSetName, Update } from './schema.ts';
import { compileSecureBoot, type SecureBootReference } from './secure-boot.ts';

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

/** An announced update's values. */
export interface CompiledUpdate {
  readonly id: string;
  readonly boots: number;
  readonly reference: ReadonlyMap<number, ReadonlySet<string>>;
  readonly boot: ReadonlyMap<number, BootReferences>;
  /** By class of path. */
  readonly ima: ReadonlyMap<string, DigestIndex>;
}

/** A policy, ready to be looked things up in. */
export interface CompiledPolicy {
  /** SHA-256 of the policy's JCS: tells a changed policy from the one that earlier entries were judged by. */
  readonly digest: Digest;
  /** Ascending. */
  readonly pcrs: readonly number[];
  readonly reference: ReadonlyMap<number, ReadonlySet<string>>;
  readonly boot: ReadonlyMap<number, BootReferences>;
  readonly secureBoot?: SecureBootReference;
  readonly ima?: ImaReferences;
  readonly updates: readonly CompiledUpdate[];
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
  const { pcrs = {}, boot, secureBoot, ima } = policy.reference;
  return {
    digest: policyDigest(policy),
    pcrs: policy.pcrs.toSorted((a, b) => a - b),
    reference: compilePcrs(pcrs),
    boot: compileBoot(boot),
    ...(secureBoot === undefined ? {} : { secureBoot: compileSecureBoot(secureBoot) }),
    ...(ima === undefined ? {} : { ima: compileIma(ima, sets) }),
    updates: (policy.updates ?? []).map((update) => compileUpdate(update, sets)),
    excluded: new Map(Object.entries(policy.excluded ?? {}).map(([pcr, reason]) => [Number(pcr), reason])),
    missingSets: namedSets(policy).filter(({ digest }) => setOf(digest, sets) === undefined),
  };
}

function compilePcrs(pcrs: NonNullable<Reference['pcrs']>): Map<number, ReadonlySet<string>> {
  return new Map(Object.entries(pcrs).map(([pcr, values]) => [Number(pcr), new Set(values)]));
}

function compileUpdate({ id, boots, reference }: Update, sets: ReferenceSets): CompiledUpdate {
  const { pcrs = {}, boot, ima = [] } = reference;
  return {
    id,
    boots,
    reference: compilePcrs(pcrs),
    boot: compileBoot(boot),
    ima: new Map(ima.map((one) => [one.class, indexOf(one, sets)])),
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

function indexOf(
  { digests = [], sets: named = [] }: Pick<PathClass, 'digests' | 'sets'>,
  sets: ReferenceSets,
): DigestIndex {
  const files = named.flatMap(({ digest }) => setOf(digest, sets) ?? []);
  return new DigestIndex([...setsOfDigests(digests), ...files]);
}

/** The reference-set files that a policy names. */
export function namedSets(policy: AppraisalPolicy): ReferenceSetName[] {
  const announced = (policy.updates ?? []).flatMap(({ reference }) => reference.ima ?? []);
  return [...(policy.reference.ima?.classes ?? []), ...announced].flatMap(({ sets = [] }) => sets);
}

function setOf(digest: string, sets: ReferenceSets): ReferenceSet | undefined {
  return isDigest(digest) ? sets.get(digest) : undefined;
}
