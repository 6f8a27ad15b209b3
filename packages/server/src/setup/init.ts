import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fromUtf8, KallioError } from '@kallio/codec';
import { createAuthority, parsePemCertificates } from '@kallio/pki';
import { publicKeyOfPem } from '@kallio/signature';
import { pemOf } from '@kallio/tlog';
import type { ServerCode } from '../codes.ts';
import { hashToken, newToken } from '../secrets.ts';
import { openStore } from '../store/store.ts';
import { type ConfigDecisions, defaultConfig } from './config.ts';
import { writeDurably } from './files.ts';
import { type Layout, layoutOf } from './layout.ts';
import { readPolicyFile, setFile } from './policy-file.ts';
import { createResultKeys } from './result-keys.ts';
import { renewServerTls } from './transport.ts';

/** What `kallio server init` is told. */
export interface InitOptions extends ConfigDecisions {
  readonly dataDir: string;
  /** PEM files with root certificates of TPM makers. None is trusted that is not named here. */
  readonly ekRoots: readonly string[];
  /** Appraisal policies: paths of JSON files. Without one, attesters of that kind can't be verified. */
  readonly builderPolicy?: string;
  readonly devicePolicy?: string;
  /** PEM file of the operator's key that signing keys must be under the approvals of. */
  readonly signingAuthority?: string;
}

/** Years of the two private authorities. */
const AUTHORITY_DAYS = 3653;
const ADMIN = 'admin';
const ADMIN_TOKEN_DAYS = 366;

/**
 * Makes a new server in an empty or absent folder: configuration, authorities, keys, store, and the first admin token,
 * which is returned here and nowhere else. `SERVER_ALREADY_INITIALISED` when there is one: keys are never overwritten.
 */
export async function initServer(
  options: InitOptions,
  now = new Date(),
): Promise<{ adminToken: string; ca: string }> {
  const { dataDir, ekRoots, builderPolicy, devicePolicy, signingAuthority, ...decisions } = options;
  const layout = layoutOf(dataDir);
  if (existsSync(layout.config)) {
    throw new KallioError(
      'SERVER_ALREADY_INITIALISED' satisfies ServerCode,
      `${dataDir} holds a server already.`,
      {
        hint: 'Choose another folder, or start the one that is there.',
      },
    );
  }
  const config = defaultConfig(decisions);
  // Everything given is read before anything is written, so that a mistake leaves no half-made server.
  const roots = ekRoots.map((path) => ({ path, pem: readPem(path) }));
  const policies = [
    { from: builderPolicy, to: layout.builderPolicy },
    { from: devicePolicy, to: layout.devicePolicy },
  ].flatMap(({ from, to }) => (from === undefined ? [] : policyFiles(from, to)));

  const authority = signingAuthority === undefined ? undefined : readAuthority(signingAuthority);

  for (const dir of [layout.root, layout.keys, layout.ekRoots, layout.policies, layout.policySets]) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
  const ca = await createKeys(layout, config.names, config.trustDomain, now);
  for (const [i, { pem }] of roots.entries()) writeDurably(join(layout.ekRoots, `root-${i + 1}.pem`), pem);
  for (const { to, content } of policies) writeDurably(to, content);
  if (authority !== undefined) writeDurably(layout.signingAuthority, authority);
  const adminToken = resetAdminToken(dataDir, now);
  // Last, because its presence says that the rest is there.
  writeDurably(layout.config, `${JSON.stringify(config, null, 2)}\n`);
  return { adminToken, ca };
}

/** The operator's key, in the one form that is kept. */
function readAuthority(path: string): string {
  return pemOf(publicKeyOfPem(fromUtf8(new Uint8Array(readFileSync(path)))).spki);
}

/**
 * Ends the token named `admin` and makes another, which is returned once. For whoever owns the data folder; works
 * beside a running server.
 */
export function resetAdminToken(dataDir: string, now = new Date()): string {
  const token = newToken('token');
  const store = openStore(layoutOf(dataDir).store);
  try {
    store.transaction(() => {
      store.tokens.drop(ADMIN, now.getTime());
      const expiresAt = now.getTime() + ADMIN_TOKEN_DAYS * 86_400_000;
      store.tokens.insert(hashToken(token), { name: ADMIN, role: 'admin' }, expiresAt, 'init', now.getTime());
    });
  } finally {
    store.close();
  }
  return token;
}

async function createKeys(
  layout: Layout,
  names: readonly string[],
  trustDomain: string,
  now: Date,
): Promise<string> {
  // Two authorities, so that a server's certificate never passes for an attester's, nor the other way round.
  const server = await createAuthority(`Kallio server authority ${trustDomain}`, now, AUTHORITY_DAYS);
  const attesters = await createAuthority(`Kallio attester authority ${trustDomain}`, now, AUTHORITY_DAYS);
  writeDurably(layout.ca, server.certificate, 0o644);
  writeDurably(layout.serverAuthorityKey, server.key);
  writeDurably(layout.attesterAuthority, attesters.certificate);
  writeDurably(layout.attesterAuthorityKey, attesters.key);
  await renewServerTls(layout, names, now);
  createResultKeys(layout.resultKeys, now);
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  writeDurably(layout.logKey, p256.export({ format: 'pem', type: 'pkcs8' }).toString());
  writeDurably(layout.logWitnessedKey, ed25519.export({ format: 'pem', type: 'pkcs8' }).toString());
  return server.certificate;
}

function readPem(path: string): string {
  const pem = readGiven(path);
  parsePemCertificates(pem);
  return pem;
}

/** A policy and its reference sets, as files to be written: the sets first, so that no policy is without them. */
function policyFiles(from: string, to: string): { to: string; content: string | Uint8Array }[] {
  const { sets } = readPolicyFile(from);
  return [
    ...[...sets].map(([digest, set]) => ({ to: setFile(dirname(to), digest), content: set.toBytes() })),
    { to, content: readGiven(from) },
  ];
}

function readGiven(path: string): string {
  try {
    return fromUtf8(readFileSync(path));
  } catch (cause) {
    throw new KallioError('CONFIG_INVALID' satisfies ServerCode, `${path} can’t be read.`, { cause });
  }
}
