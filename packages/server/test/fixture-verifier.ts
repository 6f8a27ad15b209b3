import { createPublicKey } from 'node:crypto';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { Streams } from '@kallio/protocol/serve';
import { LogWriter, logOrigin } from '@kallio/tlog';
import { Arithmetic } from '../src/attestation/arithmetic.ts';
import { Nonces } from '../src/attestation/nonces.ts';
import { Presence } from '../src/attestation/presence.ts';
import { SteadyCommits } from '../src/attestation/steady-commits.ts';
import { Turns } from '../src/attestation/turns.ts';
import type { Verifier } from '../src/attestation/verifier.ts';
import { ImageLookup } from '../src/images/references.ts';
import { Policies } from '../src/policies/policies.ts';
import { Recent } from '../src/recent.ts';
import { layoutOf } from '../src/setup/layout.ts';
import { loadDataDir } from '../src/setup/load.ts';
import { openStore, type Store } from '../src/store/store.ts';
import type { testSite } from './fixture-site.ts';

/** What works on other threads, where a test has its own. */
export interface Threads {
  readonly arithmetic?: (store: Store) => Arithmetic;
  readonly commits?: (path: string) => SteadyCommits;
}

/** What judges evidence in a copy of a site's server, in a folder of this name: no server runs on it. */
export async function copiedVerifier(
  { server, dir }: ReturnType<typeof testSite>,
  name: string,
  { arithmetic: makeArithmetic, commits: makeCommits }: Threads = {},
): Promise<{ readonly verifier: Verifier; close(): Promise<void> }> {
  const dataDir = join(dir, name);
  cpSync(server.dataDir, dataDir, { recursive: true });
  const layout = layoutOf(dataDir);
  const loaded = loadDataDir(layout);
  const { config } = loaded;
  const store = openStore(layout.store);
  const spki = new Uint8Array(createPublicKey(loaded.logKeys.p256).export({ format: 'der', type: 'spki' }));
  const origin = logOrigin(config.log.name, spki);
  const log = await LogWriter.open(layout.log, { origin, keys: loaded.logKeys, now: () => server.now() });
  const arithmetic = makeArithmetic?.(store) ?? new Arithmetic();
  const commits = makeCommits?.(layout.store) ?? new SteadyCommits(layout.store);
  const verifier = {
    store,
    config,
    keys: loaded.resultKeys,
    arithmetic,
    commits,
    policies: new Policies(layout, log, loaded),
    images: new ImageLookup(store),
    nonces: new Nonces(store, config.attestation.nonceSeconds),
    turns: new Turns(),
    presence: new Presence(new Streams()),
    aks: new Recent<string, Uint8Array>(8),
  };
  const close = async () => {
    await arithmetic.close();
    await commits.close();
    await log.close();
    store.close();
  };
  return { verifier, close };
}
