import { sha256, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  akTemplate,
  certify,
  certifyCreation,
  contextSave,
  create,
  createPrimary,
  evictControl,
  flushContext,
  HANDLE,
  type Loaded,
  load,
  loadExternal,
  type NvPublic,
  nvCertify,
  nvDefineSpace,
  nvWrite,
  sign,
  signingKeyTemplate,
  storageTemplate,
  type Tpm,
  verifySignatureInTpm,
} from '../src/index.ts';
import {
  marshalSignature,
  NV_ATTRIBUTE as NV,
  nameOf,
  nvName,
  parseAttest,
  parsePublic,
  parseSignature,
  publicKeyOf,
  verifySignature,
} from '../src/structures/index.ts';
import { Swtpm } from './support/swtpm.ts';
import { fromSizedFile, sizedFile } from './support/tool-files.ts';

const ROOT = 0x8100_0001;
const MESSAGE = utf8('a message');
const DIGEST = sha256(MESSAGE);

let swtpm: Swtpm;
let tpm: Tpm;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  await evictControl(tpm, root, ROOT);
  await flushContext(tpm, root);
  await tpm.close();
  swtpm.write('message', MESSAGE);
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

/** A key that tpm2-tools made: their context, and its public area. */
function theirKey(name: string, kind: string, attributes = 'sign'): Uint8Array {
  const fixed = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth';
  const files = ['-u', `${name}.pub`, '-r', `${name}.priv`];
  swtpm.tool('tpm2_create', '-C', '0x81000001', '-G', kind, ...files, '-a', `${fixed}|${attributes}`);
  swtpm.tool('tpm2_load', '-C', '0x81000001', ...files, '-c', `${name}.ctx`);
  return fromSizedFile(swtpm.read(`${name}.pub`));
}

/** A key of ours, loaded for as long as `use` takes. */
async function withKey<T>(
  template: Parameters<typeof create>[2],
  use: (key: Loaded) => Promise<T>,
): Promise<T> {
  const key = await load(tpm, ROOT, await create(tpm, ROOT, template));
  try {
    return await use(key);
  } finally {
    await flushContext(tpm, key);
    await tpm.close();
  }
}

/** Throws unless tpm2_verifysignature believes a signature by a key of ours. */
function believedThere(key: Uint8Array, message: Uint8Array, signature: Uint8Array): void {
  swtpm.write('key.pub', sizedFile(key));
  swtpm.write('msg', message);
  swtpm.write('sig', signature);
  swtpm.tool('tpm2_loadexternal', '-C', 'o', '-u', 'key.pub', '-c', 'key.ctx', '-n', 'key.name');
  swtpm.tool('tpm2_verifysignature', '-c', 'key.ctx', '-g', 'sha256', '-m', 'msg', '-s', 'sig');
  expect(swtpm.read('key.name')).toEqual(nameOf(key));
}

describe('signatures', () => {
  it('of ours are believed by tpm2_verifysignature, and not over another message', async () => {
    const { area, signature } = await withKey(signingKeyTemplate(), async (key) => ({
      area: key.public,
      signature: marshalSignature(await sign(tpm, key, DIGEST)),
    }));
    believedThere(area, MESSAGE, signature);
    expect(() => believedThere(area, DIGEST, signature)).toThrow(/tpm2_verifysignature/);
  });

  for (const kind of [
    'ecc256:ecdsa-sha256',
    'ecc384:ecdsa-sha384',
    'rsa2048:rsassa-sha256',
    'rsa2048:rsapss-sha256',
  ]) {
    it(`of tpm2_sign are believed here, in software and in the TPM: ${kind}`, async () => {
      const area = theirKey('k', `${kind}:null`);
      const hash = kind.endsWith('sha384') ? 'sha384' : 'sha256';
      const scheme = kind.split(':')[1]?.split('-')[0] ?? '';
      swtpm.tool('tpm2_sign', '-c', 'k.ctx', '-g', hash, '-s', scheme, '-o', 'k.sig', 'message');
      const signature = parseSignature(swtpm.read('k.sig'));
      const key = parsePublic(area);
      expect(publicKeyOf(key).type).toBe('public');
      verifySignature(key, MESSAGE, signature);
      if (hash === 'sha384') return;
      const loaded = await loadExternal(tpm, area);
      expect((await verifySignatureInTpm(tpm, loaded, DIGEST, signature)).digest).not.toHaveLength(0);
      await flushContext(tpm, loaded);
      await tpm.close();
    });
  }
});

describe('attestations', () => {
  const index: NvPublic = {
    index: 0x0150_0020,
    nameAlg: 'sha256',
    attributes: NV.ownerRead | NV.ownerWrite | NV.authRead,
    authPolicy: new Uint8Array(0),
    dataSize: MESSAGE.length,
  };

  it('of ours are believed there: Certify, CertifyCreation, NV_Certify', async () => {
    await nvDefineSpace(tpm, index);
    const now = await nvWrite(tpm, index, MESSAGE);
    const made = await withKey(akTemplate(), async (ak) => {
      const created = await create(tpm, ROOT, signingKeyTemplate());
      const key = await load(tpm, ROOT, created);
      const all = [
        await certify(tpm, key, ak, DIGEST),
        await certifyCreation(tpm, key, created.creation, ak, DIGEST),
        await nvCertify(tpm, now, ak, DIGEST),
      ];
      expect((await contextSave(tpm, key)).hierarchy).toBe(HANDLE.owner);
      await flushContext(tpm, key);
      return { area: ak.public, all };
    });
    for (const { attest, signature } of made.all) believedThere(made.area, attest, signature);
  });

  it('of theirs are believed here: tpm2_certify, tpm2_certifycreation, tpm2_nvcertify', async () => {
    const area = parsePublic(theirKey('ak', 'ecc256:ecdsa-sha256:null', 'sign|restricted'));
    const key = ['-G', 'ecc', '-u', 'o.pub', '-r', 'o.priv', '-d', 'o.digest', '-t', 'o.ticket'];
    swtpm.tool('tpm2_create', '-C', '0x81000001', ...key);
    swtpm.tool('tpm2_load', '-C', '0x81000001', '-u', 'o.pub', '-r', 'o.priv', '-c', 'o.ctx', '-n', 'o.name');
    const name = swtpm.read('o.name');
    swtpm.tool('tpm2_certify', '-c', 'o.ctx', '-C', 'ak.ctx', '-g', 'sha256', '-o', 'c.msg', '-s', 'c.sig');
    const creation = [
      '-d',
      'o.digest',
      '-t',
      'o.ticket',
      '-g',
      'sha256',
      '-o',
      'd.sig',
      '--attestation',
      'd.msg',
    ];
    swtpm.tool('tpm2_certifycreation', '-C', 'ak.ctx', '-c', 'o.ctx', ...creation);
    const nv = ['-g', 'sha256', '-o', 'n.sig', '--attestation', 'n.msg', '--size', String(MESSAGE.length)];
    swtpm.tool('tpm2_nvcertify', '-C', 'ak.ctx', '-c', 'o', ...nv, '0x1500020');
    const believed = (file: string) => {
      const message = swtpm.read(`${file}.msg`);
      verifySignature(area, message, parseSignature(swtpm.read(`${file}.sig`)));
      return parseAttest(message);
    };
    expect(believed('c')).toMatchObject({ type: 'certify', name });
    expect(believed('d')).toMatchObject({ type: 'creation', name });
    const indexName = nvName({ ...index, attributes: index.attributes | NV.written });
    expect(believed('n')).toMatchObject({ type: 'nv', contents: MESSAGE, indexName });
  });
});
