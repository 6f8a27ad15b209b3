import 'reflect-metadata';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { concat, equalBytes } from '@kallio/codec';
import {
  createPrimary,
  EK_PROFILES,
  type EkKind,
  ekTemplate,
  flushContext,
  HANDLE,
  nvDefineSpace,
  nvUndefineSpace,
  nvWrite,
  Tpm,
} from '@kallio/tpm';
import { makeCredential, NV_ATTRIBUTE, nameOf, parsePublic, publicKeyOf } from '@kallio/tpm/structures';
import { cryptoProvider, X509CertificateGenerator } from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identityOf } from '../src/identity/configured.ts';
import type { TpmIdentity } from '../src/identity/identity.ts';

cryptoProvider.set(webcrypto);

let dir: string;
let address: string;
let process: ChildProcess;

/** A TPM whose maker put no certificate into it. */
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-ek-'));
  mkdirSync(join(dir, 'tpm'));
  spawnSync('swtpm_setup', ['--tpm2', '--tpmstate', join(dir, 'tpm'), '--pcr-banks', 'sha256']);
  const socket = join(dir, 's');
  process = spawn('swtpm', [
    ...['socket', '--tpm2', '--tpmstate', `dir=${join(dir, 'tpm')}`],
    ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
    ...['--flags', 'not-need-init,startup-clear'],
  ]);
  for (let i = 0; !existsSync(socket) && i < 100; i++) await wait(20);
  address = `swtpm:unix:${socket}`;
});
afterAll(async () => {
  const gone = once(process, 'exit');
  process.kill();
  await gone;
  rmSync(dir, { recursive: true, force: true });
});

/** The SPKI of the EK of that kind; undefined where this TPM can't make one. */
async function ekOf(kind: EkKind): Promise<Uint8Array | undefined> {
  const tpm = Tpm.open(address);
  try {
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate(kind));
    await flushContext(tpm, ek.handle);
    return new Uint8Array(publicKeyOf(parsePublic(ek.public)).export({ format: 'der', type: 'spki' }));
  } catch (error) {
    if (kind === 'rsa3072') return undefined;
    throw error;
  } finally {
    await tpm.close();
  }
}

/** A certificate for this key, as a maker publishes it: written to a file. */
async function certify(spki: Uint8Array, name: string): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const maker = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: '01',
    issuer: 'CN=maker',
    subject: '',
    notBefore: new Date('2026-01-01'),
    notAfter: new Date('2036-01-01'),
    signingAlgorithm: algorithm,
    publicKey: spki,
    signingKey: maker.privateKey,
  });
  const file = join(dir, name);
  writeFileSync(file, name.endsWith('.pem') ? certificate.toString('pem') : Buffer.from(certificate.rawData));
  return file;
}

const open = (endorsement?: { certificate?: string; intermediates?: string }) =>
  identityOf({
    tpm: address,
    stateDir: join(dir, 'state'),
    ...(endorsement === undefined ? {} : { endorsement }),
  });

/** Puts bytes into the TPM as a maker does, for as long as `use` takes. */
async function withIndex<T>(
  index: number,
  bytes: Uint8Array,
  attributes: number,
  use: () => Promise<T>,
): Promise<T> {
  const nv = {
    index,
    nameAlg: 'sha256',
    attributes,
    authPolicy: new Uint8Array(0),
    dataSize: bytes.length,
  } as const;
  const tpm = Tpm.open(address);
  await nvDefineSpace(tpm, nv);
  const written = await nvWrite(tpm, nv, bytes);
  await tpm.close();
  try {
    return await use();
  } finally {
    await nvUndefineSpace(tpm, written);
    await tpm.close();
  }
}
const { ownerWrite, ownerRead, authRead } = NV_ATTRIBUTE;

/** Does this identity open a credential that is made for its EK and AK? */
async function opens(identity: TpmIdentity): Promise<boolean> {
  const secret = new Uint8Array(32).fill(7);
  const made = makeCredential(parsePublic(identity.ekPublic), nameOf(parsePublic(identity.akPublic)), secret);
  return equalBytes(await identity.activateCredential(made.credentialBlob, made.encryptedSecret), secret);
}

describe('an EK certificate in the TPM', () => {
  for (const { kind, certificate: index } of EK_PROFILES) {
    it(`serves for the EK of kind ${kind}, whatever its maker filled the index up with`, async ({ skip }) => {
      const spki = await ekOf(kind);
      if (spki === undefined) return skip(`this TPM makes no ${kind} key`);
      const der = readFileSync(await certify(spki, `${kind}-nv.der`));
      const padded = concat(der, new Uint8Array(100).fill(kind.startsWith('rsa') ? 0 : 0xff));
      for (const readable of [ownerRead, authRead]) {
        await withIndex(index, padded, ownerWrite | readable, async () => {
          const identity = await open();
          const opened = await opens(identity).finally(() => identity.close());
          expect(identity.ekCertificate).toEqual(new Uint8Array(der));
          expect(opened).toBe(true);
        });
      }
    });
  }

  it('of another TPM is refused', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const other = await certify(
      new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      'other.der',
    );
    await withIndex(0x01c0_000a, readFileSync(other), ownerWrite | authRead, async () => {
      await expect(open()).rejects.toMatchObject({ code: 'IDENTITY_EK_MISMATCH' });
    });
  });

  it('brings the certificates between it and the root along, over as many indices as they take', async () => {
    const spki = (await ekOf('ecc-p256')) ?? new Uint8Array(0);
    const [ek, a, b, c] = await Promise.all(
      ['ek', 'a', 'b', 'c'].map(
        async (name) => new Uint8Array(readFileSync(await certify(spki, `${name}-chain.der`))),
      ),
    );
    if (ek === undefined || a === undefined || b === undefined || c === undefined)
      throw new Error('four were made');
    const readable = ownerWrite | authRead;
    await withIndex(0x01c0_000a, ek, readable, () =>
      withIndex(0x01c0_0100, concat(a, b), readable, () =>
        withIndex(0x01c0_0101, concat(c, new Uint8Array(7)), readable, async () => {
          const identity = await open();
          await identity.close();
          expect(identity.intermediates).toEqual([a, b, c]);
        }),
      ),
    );
  });
});

describe('an EK certificate from a file', () => {
  for (const { kind } of EK_PROFILES) {
    it(`serves for the EK of kind ${kind}, which then opens a credential`, async ({ skip }) => {
      const spki = await ekOf(kind);
      if (spki === undefined) return skip(`this TPM makes no ${kind} key`);
      const certificate = await certify(spki, `${kind}.pem`);
      const identity = await open({ certificate });
      try {
        expect(await opens(identity)).toBe(true);
      } finally {
        await identity.close();
      }
    });
  }

  it('brings the certificates between it and the root along, from a folder', async () => {
    const spki = (await ekOf('ecc-p256')) ?? new Uint8Array(0);
    const intermediates = join(dir, 'between');
    mkdirSync(intermediates);
    await certify(spki, 'between/a.der');
    await certify(spki, 'between/b.pem');
    const identity = await open({ certificate: await certify(spki, 'ek.der'), intermediates });
    expect(identity.intermediates).toHaveLength(2);
    await identity.close();
  });

  it('that is of another TPM is refused', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const other = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
    const certificate = await certify(other, 'other.pem');
    await expect(open({ certificate })).rejects.toMatchObject({ code: 'IDENTITY_EK_MISMATCH' });
  });

  it('that is not there is an error, and so is a TPM without any', async () => {
    await expect(async () => open({ certificate: join(dir, 'nowhere.pem') })).rejects.toMatchObject({
      code: 'AGENT_CONFIG',
    });
    await expect(open()).rejects.toMatchObject({ code: 'IDENTITY_NO_EK_CERTIFICATE' });
  });
});
