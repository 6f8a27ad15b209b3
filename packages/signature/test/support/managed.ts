import { sign } from 'node:crypto';
import { canonicalBytes, digestOf, fromUtf8, type Json, sha256, toBase64, utf8 } from '@kallio/codec';
import { type LogEntry, rekorDsseBody, verifierOf } from '@kallio/tlog';
import { bundleEntryOf, keyHint, makeBundle, makeEnvelope } from '../../src/index.ts';
import { dsseSign, type TestKey, type TestServer } from './honest.ts';

/*
 * Bundles as other makers sign with a managed key: cosign sign-blob (a signature of bytes, logged as `hashedrekord`) and
 * cosign attest (an envelope, logged as `dsse`). Keys and log are of the test, so a clone alone has all of them.
 */

/** What of an otherwise honest bundle a test changes, each where its maker or an attacker would. */
export interface ManagedChanges {
  /** Base64, as the bundle says it and as the log entry does. */
  readonly signature?: (honest: string) => string;
  /** What is logged, in place of the true leaf. */
  readonly leaf?: (honest: Record<string, Json>) => Record<string, Json>;
  /** The entry, after it was logged. */
  readonly entry?: (honest: LogEntry) => LogEntry;
  readonly hint?: string;
  /** The bundle's text. */
  readonly text?: (honest: string) => string;
}

const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';

/** A signature of these bytes. */
export async function messageBundle(
  server: TestServer,
  key: TestKey,
  bytes: Uint8Array,
  changes: ManagedChanges = {},
): Promise<Uint8Array> {
  const made = toBase64(new Uint8Array(sign('sha256', bytes, key.privateKey)));
  const signature = changes.signature?.(made) ?? made;
  const honest = {
    apiVersion: '0.0.1',
    kind: 'hashedrekord',
    spec: {
      data: { hash: { algorithm: 'sha256', value: digestOf(bytes).slice('sha256:'.length) } },
      signature: { content: signature, publicKey: { content: verifierOf(key.spki) } },
    },
  };
  const logged = await (await server.log()).add(canonicalBytes(changes.leaf?.(honest) ?? honest));
  const entry = changes.entry?.(logged) ?? logged;
  const document = {
    mediaType: MEDIA_TYPE,
    verificationMaterial: {
      publicKey: { hint: changes.hint ?? toBase64(sha256(key.spki)) },
      tlogEntries: [bundleEntryOf(entry, 'hashedrekord')],
    },
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: toBase64(sha256(bytes)) },
      signature,
    },
  };
  const text = JSON.stringify(document);
  return utf8(changes.text?.(text) ?? text);
}

/** An attestation of another maker: these are its subjects' digests, in hexadecimal. */
export async function attestationBundle(
  server: TestServer,
  key: TestKey,
  subjects: readonly string[],
  changes: ManagedChanges = {},
): Promise<Uint8Array> {
  const payload = utf8(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: subjects.map((sha256, i) => ({ name: `file-${i}`, digest: { sha256 } })),
      predicateType: 'https://example.org/reviewed/v1',
      predicate: { by: 'somebody' },
    }),
  );
  const honest = makeEnvelope(payload, dsseSign(payload, key));
  const signatures = honest.signatures.map(({ sig }) => ({ sig: changes.signature?.(sig) ?? sig }));
  const envelope = { ...honest, signatures };
  const body = rekorDsseBody(envelope, key.spki);
  const leaf = changes.leaf === undefined ? body : canonicalBytes(changes.leaf(JSON.parse(fromUtf8(body))));
  const logged = await (await server.log()).add(leaf);
  const bundle = fromUtf8(makeBundle(envelope, key.spki, changes.entry?.(logged) ?? logged));
  const text = changes.hint === undefined ? bundle : bundle.replace(keyHint(key.spki), changes.hint);
  return utf8(changes.text?.(text) ?? text);
}
