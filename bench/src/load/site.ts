import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { zstdCompressSync } from 'node:zlib';
import { canonicalBytes, digestOf, sha256, toHex, utf8 } from '@kallio/codec';
import { initServer } from '@kallio/server';
import { nameOf } from '@kallio/tpm/structures';
import { IMAGE, IMAGE_REFERENCE, type Machine, type Model, policyFor } from '../attester/machine.ts';

/** Said beside every figure: what of it is not as on a real site. */
export const HOW =
  'attesters sign with software keys and stand admitted in the store from the start; their certificates they earn over the protocol';

/** Resident memory in bytes, and processor time of all threads since the start. */
export interface Usage {
  readonly resident: number;
  readonly processorMs: number;
}

/** A server with its data on disk, in a process of its own. */
export interface Site {
  readonly port: number;
  readonly ca: string;
  /** What the server takes now. */
  usage(): Promise<Usage>;
  stop(): Promise<void>;
}

/** Starts a server that knows these machines and the image they run; `attestation`: settings that differ from the defaults. */
export async function startSite(
  machines: readonly Machine[],
  model: Model,
  attestation: { readonly certificateSeconds?: number } = {},
): Promise<Site> {
  const root = mkdtempSync(join(tmpdir(), 'kallio-bench-site-'));
  try {
    const dataDir = join(root, 'data');
    const devicePolicy = join(root, 'device.json');
    writeFileSync(devicePolicy, JSON.stringify(policyFor(model, 1000)));
    const { ca } = await initServer({
      dataDir,
      devicePolicy,
      listen: '127.0.0.1:0',
      names: ['127.0.0.1'],
      trustDomain: 'bench.example',
      issuer: 'verifier.bench.example',
      log: { name: 'log.bench.example' },
      ekRoots: [],
    });
    const config = join(dataDir, 'config.json');
    const settings = JSON.parse(readFileSync(config, 'utf8'));
    const changed = { ...settings, attestation: { ...settings.attestation, ...attestation } };
    writeFileSync(config, JSON.stringify(changed));
    admit(join(dataDir, 'store.sqlite'), machines);
    return await start(dataDir, ca, root);
  } catch (error) {
    rmSync(root, { recursive: true, force: true });
    throw error;
  }
}

async function start(dataDir: string, ca: string, root: string): Promise<Site> {
  const server = fork(new URL('./server.ts', import.meta.url), [dataDir], {
    // Its log is written, as on a real site, and read by nobody.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const { url } = await answer<{ url: string }>(server);
  return {
    port: Number(new URL(url).port),
    ca,
    usage: () => {
      server.send('usage');
      return answer<Usage>(server);
    },
    stop: async () => {
      const gone = once(server, 'exit');
      server.disconnect();
      await gone;
      rmSync(root, { recursive: true, force: true });
    },
  };
}

async function answer<T>(server: ChildProcess): Promise<T> {
  const heard = new AbortController();
  const { signal } = heard;
  try {
    const [message] = await Promise.race([
      once(server, 'message', { signal }),
      once(server, 'exit', { signal }).then(([code]) => {
        throw new Error(`the server ended with ${code}`);
      }),
    ]);
    return message;
  } finally {
    // Whatever else was waited for is not waited for any more.
    heard.abort();
  }
}

/**
 * Writes the machines into the store as admitted, and the image as named by a logged statement. Ten thousand TPMs with
 * certificates of a maker are not to be had; what is measured comes after enrolment.
 */
function admit(path: string, machines: readonly Machine[]): void {
  const db = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  const claim = db.prepare(
    `INSERT INTO claims (attester, kind, ek, ek_public, ek_certificate, ek_root, ak, ak_public, state, created_at)
       VALUES (?, 'device', ?, ?, ?, 'CN=bench', ?, ?, 'admitted', ?)`,
  );
  db.exec('BEGIN');
  for (const { id, tpm } of machines) {
    const ek = utf8(`EK of ${id}`);
    claim.run(id, toHex(sha256(ek)), ek, ek, toHex(nameOf(tpm.akPublic)), tpm.akPublic, Date.now());
  }
  const files = [...IMAGE_REFERENCE.files].map(([name, digest]) => ({
    path: name,
    sha256: digest,
    mode: 0o644,
  }));
  const manifest = canonicalBytes({ files });
  db.prepare('INSERT INTO file_manifests (digest, bytes) VALUES (?, ?)').run(
    digestOf(manifest),
    zstdCompressSync(manifest),
  );
  db.prepare(
    `INSERT INTO image_references (image, file_manifest, session, log_index) VALUES (?, ?, 'bench-session', 1)`,
  ).run(IMAGE, digestOf(manifest));
  db.exec('COMMIT');
  db.close();
}
