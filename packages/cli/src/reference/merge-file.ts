import type { Digest } from '@kallio/codec';
import { readPolicyFile } from '@kallio/server/policy-file';
import { type References, setBytes, writeWithSets } from './fragment.ts';
import { mergeReferences } from './merge.ts';

/**
 * Puts reference values into a policy and writes it to `out`, with every set it names beside it. Gives the new id.
 */
export function mergeInto(path: string, added: readonly References[], out: string, id?: string): string {
  const { policy, sets } = readPolicyFile(path);
  const merged = mergeReferences(
    policy,
    added.map(({ file }) => file.reference),
    id,
  );
  const all = new Map<Digest, Uint8Array>([...setBytes(sets), ...added.flatMap((one) => [...one.sets])]);
  writeWithSets(out, merged, all);
  return merged.id;
}
