import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  canonicalBytes,
  type Digest,
  digestOf,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8,
} from '@kallio/codec';
import {
  type Client,
  fileManifestPut,
  imageShow,
  LOG_CHECKPOINT,
  LOG_TILES,
  logAdd,
  logConsistency,
  logEntry,
  sessionClose,
  trustShow,
} from '@kallio/protocol';
import {
  buildStatement,
  type Claims,
  makeEnvelope,
  PAYLOAD_TYPE,
  pae,
  paeDigest,
  statementDigest,
} from '@kallio/signature';
import { leafHash, trustedLog, verifyConsistency, verifyLogEntry } from '@kallio/tlog';
import { parsePublic, publicKeyOf } from '@kallio/tpm/structures';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import { policies } from './fixture-policies.ts';
import { type TestServer, testServer } from './fixture-server.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const fileManifest = {
  version: 'kallio-file-manifest-v1',
  files: [{ path: '/bin/app', sha256: '11'.repeat(32), mode: 0o755, uid: 0, gid: 0, size: 1 }],
};

let dir: string;
let tpm: TestTpm;
let server: TestServer;
let builder: TestAttester;
let client: Client;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-log-'));
  const maker = new Maker(join(dir, 'maker'));
  tpm = await maker.make('one');
  server = await testServer({ ekRoots: maker.roots, ...policies(dir) });
  builder = await admitted(server, tpm, 'be-1');
  client = await builder.connect(server);
});
afterAll(async () => {
  await server.stop();
  await tpm.powerOff();
  rmSync(dir, { recursive: true });
});

const spki = () =>
  new Uint8Array(publicKeyOf(parsePublic(tpm.signingPublic)).export({ format: 'der', type: 'spki' }));

function claimsOf(image: string, files: unknown = fileManifest): Claims {
  return {
    subject: { name: 'registry.test/app', digest: digestOf(utf8(image)) },
    image: {
      os: 'linux',
      architecture: 'amd64',
      user: '',
      entrypoint: ['/bin/app'],
      command: [],
      environment: [],
      workingDirectory: '/',
      ports: [],
      volumes: [],
      labels: {},
      stopSignal: '',
      layers: [],
    },
    fileManifest: { digest: digestOf(canonicalBytes(files)), files: 1 },
  };
}

/** A session closed on these claims, and the statement that it led to. */
async function built(claims: Claims): Promise<Uint8Array> {
  const session = await builder.openSession(client);
  const closing = await builder.closing(client, session, claims.subject.digest, statementDigest(claims));
  const record = await client.call(sessionClose, { params: { session }, body: closing });
  return buildStatement(claims, {
    session,
    builder: 'be-1',
    tier: 'C',
    boot: 1,
    ear: record.ear ?? '',
    akCertification: {
      ak: toBase64(tpm.akPublic),
      key: closing.signingKey.public,
      certification: closing.signingKey.certification,
    },
    evidence: record.evidence.map((d) => d as Digest),
  });
}

/** The statement, signed in the TPM. */
async function signed(statement: Uint8Array) {
  const envelope = makeEnvelope(statement, await tpm.sign(paeDigest(PAYLOAD_TYPE, statement)));
  return { envelope, publicKey: toBase64(spki()) };
}

describe('the log', () => {
  it('answers an image signature with everything that an offline verifier needs', async () => {
    const body = await signed(await built(claimsOf('first')));
    const entry = await client.call(logAdd, { body });
    const { log } = await client.call(trustShow, {});
    const trusted = trustedLog(fromBase64(log.publicKey), log.origin);
    verifyLogEntry(entry, trusted);
    await server.restart();
    client = await builder.connect(server);
    verifyLogEntry(await server.client().call(logEntry, { params: { index: entry.logIndex } }), trusted);
    // The same signature again is the same entry.
    expect((await client.call(logAdd, { body })).logIndex).toBe(entry.logIndex);
  });

  it('proves that it only grew', async () => {
    const head = async () =>
      Buffer.from(await client.raw('GET', `${LOG_CHECKPOINT}?rendering=sigstore`))
        .toString()
        .split('\n');
    const [, from, before] = await head();
    await client.call(logAdd, { body: await signed(await built(claimsOf('second'))) });
    const [, to, after] = await head();
    const query = { from: Number(from), to: Number(to) };
    const { hashes } = await server.client().call(logConsistency, { query });
    verifyConsistency({
      ...query,
      fromRoot: fromBase64(before ?? ''),
      toRoot: fromBase64(after ?? ''),
      hashes: hashes.map((hash) => fromHex(hash)),
    });
  });

  it('serves its tiles as plain bytes to anybody', async () => {
    const entry = await client.call(logAdd, { body: await signed(await built(claimsOf('third'))) });
    const size = entry.inclusionProof.treeSize;
    const tile = await server.client().raw('GET', `${LOG_TILES}/0/000.p/${size}`);
    expect(tile.length).toBe(size * 32);
    expect(toHex(tile.subarray(-32))).toBe(toHex(leafHash(fromBase64(entry.body))));
    await expect(server.client().raw('GET', `${LOG_TILES}/0/001`)).rejects.toThrow(code('NOT_FOUND'));
    await expect(server.client().raw('GET', `${LOG_TILES}/0/..`)).rejects.toThrow(code('LOG_TILE_PATH'));
    await expect(server.client().raw('GET', `${LOG_TILES}/x`)).rejects.toThrow(code('LOG_TILE_PATH'));
  });

  it('stays no junk yard', async () => {
    const statement = await built(claimsOf('fourth'));
    const body = await signed(statement);
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey;
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const bySoftware = (payload: Uint8Array) => ({
      envelope: makeEnvelope(
        payload,
        new Uint8Array(sign('sha256', pae(PAYLOAD_TYPE, payload), other.privateKey)),
      ),
      publicKey: other.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    });
    const add = (b: typeof body) => client.call(logAdd, { body: b });
    await expect(add({ ...body, publicKey: bySoftware(statement).publicKey })).rejects.toThrow(
      code('SIGNATURE_INVALID'),
    );
    await expect(
      add({ ...body, publicKey: p384.export({ format: 'der', type: 'spki' }).toString('base64') }),
    ).rejects.toThrow(code('SIGNATURE_KEY_UNSUITABLE'));
    await expect(add(bySoftware(utf8('{"hello":"world"}')))).rejects.toThrow(code('STATEMENT_TYPE'));
    await expect(server.client().call(logAdd, { body })).rejects.toThrow(code('UNAUTHENTICATED'));
    await add(body);
  });

  it('refuses what is not there', async () => {
    const anybody = server.client();
    await expect(anybody.call(logEntry, { params: { index: 10_000 } })).rejects.toThrow(
      code('LOG_ENTRY_UNKNOWN'),
    );
    await expect(anybody.call(logConsistency, { query: { from: 1, to: 10_000 } })).rejects.toThrow(
      code('LOG_RANGE'),
    );
    await expect(anybody.raw('GET', `${LOG_CHECKPOINT}?rendering=other`)).rejects.toThrow(
      code('REQUEST_INVALID'),
    );
  });
});

describe('reference values of an image', () => {
  const put = (digest: Digest, body: unknown) => client.call(fileManifestPut, { params: { digest }, body });
  const show = (digest: Digest) => client.call(imageShow, { params: { digest } });

  it('are taken when they are what the logged statement of a closed session names', async () => {
    const claims = claimsOf('fifth');
    const { digest } = claims.subject;
    await expect(put(digest, fileManifest)).rejects.toThrow(code('IMAGE_UNKNOWN'));
    await client.call(logAdd, { body: await signed(await built(claims)) });
    expect(await show(digest)).toEqual({
      image: digest,
      fileManifest: claims.fileManifest.digest,
      known: false,
    });
    const altered = { ...fileManifest, files: [{ ...fileManifest.files[0], path: '/bin/other' }] };
    await expect(put(digest, altered)).rejects.toThrow(code('FILE_MANIFEST_MISMATCH'));
    expect(await put(digest, fileManifest)).toEqual({ fileManifest: claims.fileManifest.digest });
    expect(await show(digest)).toMatchObject({ known: true });
  });

  it('are not named by a statement that no session closed on', async () => {
    const honest = claimsOf('sixth');
    const statement = await built(honest);
    const lie = Buffer.from(statement)
      .toString()
      .replace(honest.fileManifest.digest, digestOf(utf8('other files')));
    await client.call(logAdd, { body: await signed(utf8(lie)) });
    expect(await show(honest.subject.digest)).toEqual({ image: honest.subject.digest, known: false });
    // The same statement by a key that the session does not vouch for.
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const bySoftware = new Uint8Array(sign('sha256', pae(PAYLOAD_TYPE, statement), other));
    const publicKey = createPublicKey(other).export({ format: 'der', type: 'spki' }).toString('base64');
    await client.call(logAdd, { body: { envelope: makeEnvelope(statement, bySoftware), publicKey } });
    expect(await show(honest.subject.digest)).toMatchObject({ known: false });
    await client.call(logAdd, { body: await signed(statement) });
    expect(await show(honest.subject.digest)).toMatchObject({ fileManifest: honest.fileManifest.digest });
  });

  it('are none when two sessions name different ones', async () => {
    const other = { ...fileManifest, files: [] };
    for (const claims of [claimsOf('seventh'), claimsOf('seventh', other)]) {
      await client.call(logAdd, { body: await signed(await built(claims)) });
    }
    const { digest } = claimsOf('seventh').subject;
    expect(await show(digest)).toEqual({ image: digest, known: false });
  });
});
