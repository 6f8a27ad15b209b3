import type { VerifyFlags } from '../verifying.ts';

/** A command line of `kallio verify`, read. */
export interface Asked {
  readonly image: string;
  readonly flags: VerifyFlags;
  readonly json: boolean;
}

const VALUES = new Map<string, 'policy' | 'keyOut' | 'bundle' | 'proof'>([
  ['--policy', 'policy'],
  ['--key-out', 'keyOut'],
  ['--bundle', 'bundle'],
  ['--proof', 'proof'],
]);

/**
 * Reads what stands behind `kallio verify` where it is as plain as mostly: the image and the policy, each option once, its
 * value behind it. Undefined for every other command line: what reads all of them costs as much as a verdict to load, and
 * knows what to say of a wrong one.
 */
export function plainFlags(args: readonly string[]): Asked | undefined {
  let image: string | undefined;
  const values = new Map<string, string>();
  const switches = new Set<string>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    const name = VALUES.get(arg);
    if (name !== undefined) {
      const value = args[++i];
      if (!isPlain(value) || values.has(name)) return undefined;
      values.set(name, value);
    } else if (arg === '--evidence' || arg === '--json') {
      switches.add(arg);
    } else {
      if (!isPlain(arg) || image !== undefined) return undefined;
      image = arg;
    }
  }
  const { policy, ...others }: Partial<Record<string, string>> = Object.fromEntries(values);
  if (image === undefined || policy === undefined) return undefined;
  const evidence = switches.has('--evidence') ? { evidence: true } : {};
  return { image, flags: { policy, ...others, ...evidence }, json: switches.has('--json') };
}

function isPlain(text: string | undefined): text is string {
  return text !== undefined && text !== '' && !text.startsWith('-');
}
