import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Digest, digestOf, fromUtf8, parseJson, toBase64, utf8 } from '@kallio/codec';
import { configClaims } from '@kallio/oci';
import { type Envelope, type LogEntry, LogWriter, logOrigin, rekorDsseBody } from '@kallio/tlog';
import {
  type BuildEnvironment,
  buildStatement,
  type Claims,
  type ImagePolicy,
  keyDigest,
  makeBundle,
  makeEnvelope,
  PAYLOAD_TYPE,
  pae,
  statementDigest,
} from '../../src/index.ts';
import { ISSUER, issuerJwks, issueSessionEar } from './ear.ts';

/*
 * A build as it should be, with keys in software in place of the TPM's: the TPM's part is that nobody else can use
 * the key, and no verifier sees the difference.
 */

/** A P-256 key pair with its SPKI. */
export interface TestKey {
  readonly privateKey: KeyObject;
  readonly spki: Uint8Array;
}

export function testKey(namedCurve = 'P-256'): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  return { privateKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) };
}

export function dsseSign(payload: Uint8Array, key: TestKey, payloadType = PAYLOAD_TYPE): Uint8Array {
  return new Uint8Array(sign('sha256', pae(payloadType, payload), key.privateKey));
}

/** An image configuration (OCI image-spec "config.md"). */
export const configBytes = utf8(
  JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: {
      Entrypoint: ['/bin/api'],
      Cmd: ['--listen', '8080'],
      Env: ['PATH=/bin'],
      User: '1000',
      ExposedPorts: { '8080/tcp': {} },
      Labels: { 'org.example.name': 'api' },
      WorkingDir: '/',
    },
    rootfs: { type: 'layers', diff_ids: [digestOf(utf8('layer one')), digestOf(utf8('layer two'))] },
  }),
);

export const manifestDigest = digestOf(utf8('the image manifest'));

export function claimsOf(digest: Digest = manifestDigest): Claims {
  return {
    subject: { name: 'registry.example/shop/api', digest },
    image: configClaims(parseJson(configBytes)),
    fileManifest: { digest: digestOf(utf8('the file manifest')), files: 412 },
  };
}

/** The server of a test: log and result-signing key. */
export class TestServer {
  readonly logKey = testKey();
  /** The log's other key, by which it signs the heads that witnesses see. */
  readonly logEd25519 = generateKeyPairSync('ed25519').privateKey;
  readonly earKey = testKey();
  readonly origin = logOrigin('log.example', this.logKey.spki);
  readonly #directory = mkdtempSync(join(tmpdir(), 'kallio-signature-'));
  #writer: LogWriter | undefined;

  async log(): Promise<LogWriter> {
    this.#writer ??= await LogWriter.open(this.#directory, {
      origin: this.origin,
      keys: { p256: this.logKey.privateKey, ed25519: this.logEd25519 },
      now: () => new Date(),
    });
    return this.#writer;
  }

  policy(): ImagePolicy {
    return {
      policy: 'kallio-image-policy-v1',
      issuer: ISSUER,
      jwks: issuerJwks(this.earKey),
      logs: [{ origin: this.origin, publicKey: toBase64(this.logKey.spki) }],
      builders: ['build-1'],
      tiers: ['C'],
    };
  }

  async close(): Promise<void> {
    await this.#writer?.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** What a test may change in an otherwise honest build. Each change is made where an attacker would make it. */
export interface Changes {
  readonly claims?: Claims;
  /** What the session's result says, if not what it should. */
  readonly session?: Partial<Parameters<typeof issueSessionEar>[2]>;
  readonly issuedAt?: Date;
  readonly earKey?: TestKey;
  readonly ear?: string;
  readonly environment?: Partial<BuildEnvironment>;
  /** The statement's text, before it is signed. */
  readonly payload?: (honest: string) => string;
  /** The envelope, before it is logged. */
  readonly envelope?: (honest: Envelope) => Envelope;
  /** The entry, after it was logged. */
  readonly entry?: (honest: LogEntry) => LogEntry;
  /** The bundle's text. */
  readonly bundle?: (honest: string) => string;
}

export interface Build {
  readonly bundle: Uint8Array;
  readonly envelope: Envelope;
  readonly entry: LogEntry;
  readonly payload: Uint8Array;
}

const evidence = [digestOf(utf8('opening evidence')), digestOf(utf8('closing evidence'))];
const blob = toBase64(utf8('a TPM structure'));

/** A whole build: session closed, statement signed, logged, bundled. */
export async function build(server: TestServer, key: TestKey, changes: Changes = {}): Promise<Build> {
  const claims = changes.claims ?? claimsOf();
  const session = {
    session: 'session-0001',
    subject: claims.subject.digest,
    statement: statementDigest(claims),
    signingKey: keyDigest(key.spki),
    evidence,
    builder: 'build-1',
    tier: 'C' as const,
    boot: 7,
    ...changes.session,
  };
  const ear =
    changes.ear ??
    (await issueSessionEar(changes.earKey ?? server.earKey, changes.issuedAt ?? new Date(), session));
  const statement = buildStatement(claims, {
    session: session.session,
    builder: session.builder,
    tier: session.tier,
    boot: session.boot,
    ear,
    akCertification: { ak: blob, key: blob, certification: { attest: blob, signature: blob } },
    evidence: [...session.evidence],
    ...changes.environment,
  });
  const payload = changes.payload === undefined ? statement : utf8(changes.payload(fromUtf8(statement)));
  const honest = makeEnvelope(payload, dsseSign(payload, key));
  const envelope = changes.envelope?.(honest) ?? honest;
  const log = await server.log();
  const logged = await log.add(rekorDsseBody(envelope, key.spki));
  const entry = changes.entry?.(logged) ?? logged;
  const bundle = makeBundle(envelope, key.spki, entry);
  return {
    bundle: changes.bundle === undefined ? bundle : utf8(changes.bundle(fromUtf8(bundle))),
    envelope,
    entry,
    payload,
  };
}
