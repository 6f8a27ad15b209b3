import { join } from 'node:path';

/** Where everything lies in a server's data folder (0700). `docs/operations.md` explains each. */
export function layoutOf(dataDir: string) {
  return {
    root: dataDir,
    config: join(dataDir, 'config.json'),
    /** What agents and clients pin. */
    ca: join(dataDir, 'ca.pem'),
    keys: join(dataDir, 'keys'),
    serverAuthorityKey: join(dataDir, 'keys', 'server-authority.key'),
    /** Certificate and key of the TLS listener, in one file, so that they always match. */
    serverTls: join(dataDir, 'keys', 'server.pem'),
    attesterAuthority: join(dataDir, 'keys', 'attester-authority.pem'),
    attesterAuthorityKey: join(dataDir, 'keys', 'attester-authority.key'),
    resultKeys: join(dataDir, 'keys', 'results.json'),
    /** Held by whoever changes them, beside a server that runs. */
    resultKeysLock: join(dataDir, 'keys', 'results.lock'),
    logKey: join(dataDir, 'keys', 'log-p256.key'),
    logWitnessedKey: join(dataDir, 'keys', 'log-ed25519.key'),
    ekRoots: join(dataDir, 'ek-roots'),
    policies: join(dataDir, 'policies'),
    /** Reference-set files that the policies name, by SHA-256. */
    policySets: join(dataDir, 'policies', 'sets'),
    builderPolicy: join(dataDir, 'policies', 'builder.json'),
    devicePolicy: join(dataDir, 'policies', 'device.json'),
    /** PEM of the operator's key: with it, only signing keys under its approvals may sign for a session. */
    signingAuthority: join(dataDir, 'policies', 'signing-authority.pem'),
    store: join(dataDir, 'store.sqlite'),
    lock: join(dataDir, 'lock.sqlite'),
    log: join(dataDir, 'log'),
  } as const;
}

export type Layout = ReturnType<typeof layoutOf>;
