/** What a package may import: `tpm` with every part that it exports, or one part, as `tpm/structures`. */
export type Allowed = readonly string[];

const LIBRARIES: Allowed = ['codec', 'tpm', 'pki', 'evidence', 'appraisal', 'tlog', 'oci', 'signature'];
export const ROLES: readonly string[] = ['agent', 'server', 'orchestrator'];
const ANYTHING: Allowed = [...LIBRARIES, 'protocol', 'threads', 'store', ...ROLES, 'cli'];

/**
 * The layout: who may import whom. Whoever judges evidence takes the TPM's structures only, never its commands and
 * transports; roles speak to one another over the protocol alone.
 */
export const LAYOUT: ReadonlyMap<string, Allowed> = new Map([
  ['packages/codec', []],
  ['packages/tpm', ['codec']],
  ['packages/pki', ['codec', 'tpm/structures']],
  ['packages/evidence', ['codec', 'tpm/structures']],
  ['packages/appraisal', ['codec', 'tpm/structures', 'evidence', 'pki']],
  ['packages/tlog', ['codec']],
  ['packages/oci', ['codec']],
  ['packages/signature', ['codec', 'tpm/structures', 'evidence', 'appraisal', 'tlog', 'oci']],
  ['packages/protocol', ['codec', 'evidence']],
  ['packages/threads', []],
  ['packages/store', ['codec', 'threads']],
  ['packages/agent', [...LIBRARIES, 'protocol']],
  ['packages/server', [...LIBRARIES, 'protocol', 'threads', 'store']],
  ['packages/orchestrator', [...LIBRARIES, 'protocol', 'store']],
  ['packages/cli', ANYTHING],
  ['e2e', ANYTHING],
  ['bench', [...ANYTHING, 'e2e']],
  ['fuzz', [...LIBRARIES, 'bench']],
  ['lab', [...ANYTHING, 'e2e']],
]);

/** What a package's tests may import besides the package: fixtures come from anywhere but another role. */
export const TEST_IMPORTS: Allowed = [...LIBRARIES, 'protocol', 'store'];

/** Files that judge: from bytes to a verdict, with no word to a disk, a network or another process. */
const JUDGES: readonly RegExp[] = [
  /^packages\/(?:codec|pki|evidence|appraisal|signature)\/src\//,
  /^packages\/tlog\/src\/(?!writer\/)/,
  /^packages\/tpm\/src\/(?:structures|software)\//,
];

export function judges(path: string): boolean {
  return JUDGES.some((folder) => folder.test(path));
}

const NODE_IO: ReadonlySet<string> = new Set([
  ...['fs', 'net', 'http', 'https', 'http2', 'tls', 'dgram', 'dns'],
  ...['child_process', 'cluster', 'worker_threads', 'sqlite', 'module'],
]);
const OTHER_IO: ReadonlySet<string> = new Set(['undici', 'fastify']);

/** A module that reaches outside the process, also without its `node:` and with a part of it (`fs/promises`). */
export function reachesOutside(specifier: string): boolean {
  const [module = ''] = specifier.replace(/^node:/, '').split('/');
  return NODE_IO.has(module) || OTHER_IO.has(module);
}

/** A judging file that may have a module nonetheless, or hand on another file that has one. */
export interface Exception {
  readonly file: string;
  readonly reaches: string;
  readonly because: string;
}

export const EXCEPTIONS: readonly Exception[] = [
  {
    file: 'packages/pki/src/authority.ts',
    reaches: 'node:net',
    because: 'isIP() looks at a text: a certificate names addresses and host names differently',
  },
  {
    file: 'packages/tlog/src/index.ts',
    reaches: 'packages/tlog/src/writer/',
    because: 'the package exports its writer beside the proofs; the proofs do not import it',
  },
];

/** Files that load what they do not name, each for a reason. What they may import otherwise is for the other rules. */
export const LOADERS: ReadonlyMap<string, string> = new Map([
  [
    'packages/cli/bin/kallio.cjs',
    'CommonJS, as Node starts that quickest; it starts a bundle of the command, named by its sources’ digest',
  ],
  [
    'fuzz/src/worker.ts',
    'it attacks the targets of a module that it is told: its own test has some with mistakes in them',
  ],
]);
