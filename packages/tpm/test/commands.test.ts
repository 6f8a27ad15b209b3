import { createHash } from 'node:crypto';
import { sha256, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  activateCredential,
  akTemplate,
  certifyCreation,
  clear,
  contextLoad,
  contextSave,
  create,
  createPrimary,
  ekTemplate,
  evictControl,
  flushContext,
  getCapability,
  getRandom,
  getTestResult,
  HANDLE,
  hierarchyChangeAuth,
  type Loaded,
  load,
  loadExternal,
  makeCredentialInTpm,
  NO_PASSWORD,
  pcrEvent,
  pcrExtend,
  pcrRead,
  quote,
  readClock,
  readPcrs,
  readPublicArea,
  sealedTemplate,
  selfTest,
  shutdown,
  sign,
  signingKeyTemplate,
  startup,
  storageTemplate,
  type Tpm,
  unseal,
  verifySignatureInTpm,
} from '../src/index.ts';
import {
  checkAk,
  hashId,
  nameOf,
  parseAttest,
  parsePublic,
  parseSignature,
  verifySignature,
} from '../src/structures/index.ts';
import { refusalOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const DATA = utf8('what nobody else may know');
const DIGEST = sha256(DATA);

let swtpm: Swtpm;
let tpm: Tpm;
let root: Loaded;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
  root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

/** Makes a key and loads it for as long as `use` takes. */
async function withKey<T>(
  template: Parameters<typeof create>[2],
  use: (key: Loaded) => Promise<T>,
): Promise<T> {
  const key = await load(tpm, root, await create(tpm, root, template));
  try {
    return await use(key);
  } finally {
    await flushContext(tpm, key);
  }
}

describe('a TPM', () => {
  it('tests itself and says that it is well', async () => {
    await selfTest(tpm, true);
    expect((await getTestResult(tpm)).result).toMatchObject({ code: 0, name: 'TPM_RC_SUCCESS' });
  });

  it('gives random bytes, and its clock to the last bit', async () => {
    expect(await getRandom(tpm, 20)).not.toEqual(await getRandom(tpm, 20));
    const { time, clock, resetCount } = await readClock(tpm);
    expect(typeof time).toBe('bigint');
    expect(clock).toBeGreaterThan(0n);
    expect(resetCount).toBeGreaterThan(0);
  });

  it('says what it can do', async () => {
    const algorithms = await getCapability(tpm, 'algorithms');
    expect([...algorithms.values.keys()]).toContain(hashId('sha256'));
    const commands = await getCapability(tpm, 'commands');
    expect(commands.values.map((attributes) => attributes & 0xffff)).toContain(0x158);
    expect((await getCapability(tpm, 'curves')).values).toContain(3);
    const handles = await getCapability(tpm, 'handles', 0x8000_0000);
    expect(handles.values).toEqual([root.handle]);
    const banks = (await getCapability(tpm, 'pcrs')).values;
    expect(banks.find(({ bank }) => bank === 'sha384')?.pcrs).toHaveLength(24);
    // TPM_PT_FAMILY_INDICATOR: "2.0" and a zero octet.
    const properties = await getCapability(tpm, 'properties', 0x100, 1);
    expect(properties.more).toBe(true);
    expect([...properties.values]).toEqual([[0x100, 0x322e_3000]]);
  });

  it('refuses to be started twice, and is shut down in order', async () => {
    expect((await refusalOf(startup(tpm, 'clear')))?.message).toMatch(/TPM_RC_INITIALIZE/);
    await shutdown(tpm, 'clear');
  });
});

describe('PCRs', () => {
  it('are extended with a digest', async () => {
    const before = await readPcrs(tpm, 'sha256', [16]);
    await pcrExtend(tpm, 16, [['sha256', DIGEST]]);
    const after = await pcrRead(tpm, [{ bank: 'sha256', pcrs: [16] }]);
    expect(after.digests).toEqual([sha256(before.get(16) ?? DATA, DIGEST)]);
  });

  it('are extended with an event that the TPM hashes, in each bank', async () => {
    const before = await readPcrs(tpm, 'sha256', [16]);
    const digests = await pcrEvent(tpm, 16, DATA);
    expect(digests.get('sha256')).toEqual(DIGEST);
    expect(digests.get('sha384')).toEqual(new Uint8Array(createHash('sha384').update(DATA).digest()));
    expect((await readPcrs(tpm, 'sha256', [16])).get(16)).toEqual(sha256(before.get(16) ?? DATA, DIGEST));
  });
});

describe('objects', () => {
  it('have the Name that we compute, here and there', async () => {
    await withKey(akTemplate(), async (key) => {
      const there = await readPublicArea(tpm, key);
      expect(there.public).toEqual(key.public);
      expect(there.name).toEqual(nameOf(key.public));
      expect(key.name).toEqual(there.name);
    });
  });

  it('seal data that is opened again with their authorization, and not without', async () => {
    const userAuth = utf8('password');
    const sealed = await load(tpm, root, await create(tpm, root, sealedTemplate(), { userAuth, data: DATA }));
    expect(await unseal(tpm, sealed, { authorizations: [{ kind: 'password', password: userAuth }] })).toEqual(
      DATA,
    );
    const refusal = await refusalOf(unseal(tpm, sealed));
    expect(refusal?.message).toMatch(/TPM_RC_AUTH_FAIL \(session 1\)/);
    expect(JSON.stringify(refusal)).not.toContain('password');
    await flushContext(tpm, sealed);
  });

  it('are saved and loaded as contexts, whose sequence number grows', async () => {
    await withKey(signingKeyTemplate(), async (key) => {
      const saved = await contextSave(tpm, key);
      const next = await contextSave(tpm, key);
      expect(next.sequence).toBeGreaterThan(saved.sequence);
      const handle = await contextLoad(tpm, saved);
      expect((await readPublicArea(tpm, handle)).name).toEqual(key.name);
      await flushContext(tpm, handle);
      const blob = saved.blob.slice();
      blob[blob.length - 1] = (blob.at(-1) ?? 0) ^ 1;
      expect((await refusalOf(contextLoad(tpm, { ...saved, blob })))?.message).toMatch(/TPM_RC_INTEGRITY/);
    });
  });

  it('become persistent and are evicted again', async () => {
    await withKey(signingKeyTemplate(), (key) => evictControl(tpm, key, 0x8100_0010));
    expect((await getCapability(tpm, 'handles', 0x8100_0000)).values).toContain(0x8100_0010);
    const signature = await sign(tpm, 0x8100_0010, DIGEST);
    const key = parsePublic((await readPublicArea(tpm, 0x8100_0010)).public);
    verifySignature(key, DATA, signature);
    await evictControl(tpm, 0x8100_0010, 0x8100_0010);
    expect((await getCapability(tpm, 'handles', 0x8100_0000)).values).not.toContain(0x8100_0010);
  });

  it('are certified to have been created in this TPM; not with another creation', async () => {
    await withKey(akTemplate(), async (ak) => {
      const made = await create(tpm, root, signingKeyTemplate());
      const key = await load(tpm, root, made);
      const { attest, signature } = await certifyCreation(tpm, key, made.creation, ak, DIGEST);
      verifySignature(parsePublic(ak.public), attest, parseSignature(signature));
      const parsed = parseAttest(attest);
      expect(parsed).toMatchObject({ type: 'creation', name: key.name, creationHash: made.creation.hash });
      const other = { ...made.creation, hash: DIGEST };
      expect((await refusalOf(certifyCreation(tpm, key, other, ak, DIGEST)))?.message).toMatch(
        /TPM_RC_TICKET/,
      );
      await flushContext(tpm, key);
    });
  });
});

describe('a quote that is made by hand', () => {
  it('is signed by a key that is not restricted, and would pass; not by an AK. So only an AK may attest', async () => {
    const real = await withKey(akTemplate(), (ak) =>
      quote(tpm, ak, DIGEST, [{ bank: 'sha256', pcrs: [0, 7] }]),
    );
    // The PCR digest, at its end, is what the attacker wants it to be.
    const forged = real.attest.slice();
    forged.fill(0xaa, -32);
    expect(parseAttest(forged)).toMatchObject({ type: 'quote', digest: new Uint8Array(32).fill(0xaa) });
    await withKey(signingKeyTemplate(), async (key) => {
      const area = parsePublic(key.public);
      verifySignature(area, forged, await sign(tpm, key, sha256(forged)));
      expect((await refusalOf(() => checkAk(area)))?.code).toBe('TPM_KEY_RESTRICTION');
    });
    await withKey(akTemplate(), async (ak) => {
      checkAk(parsePublic(ak.public));
      expect((await refusalOf(sign(tpm, ak, sha256(forged))))?.message).toMatch(/TPM_RC_TICKET/);
    });
  });
});

describe('public keys from outside', () => {
  it('verify signatures in the TPM, right ones only', async () => {
    const { signature, area } = await withKey(signingKeyTemplate(), async (key) => ({
      signature: await sign(tpm, key, DIGEST),
      area: key.public,
    }));
    const key = await loadExternal(tpm, area);
    expect(key.name).toEqual(nameOf(area));
    const ticket = await verifySignatureInTpm(tpm, key, DIGEST, signature);
    expect(ticket).toMatchObject({ tag: 0x8022, hierarchy: HANDLE.owner });
    const refusal = await refusalOf(verifySignatureInTpm(tpm, key, sha256(DIGEST), signature));
    expect(refusal?.message).toMatch(/TPM_RC_SIGNATURE \(parameter 2\)/);
    await flushContext(tpm, key);
  });

  it('make credentials in the TPM that it opens itself', async () => {
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    const made = await makeCredentialInTpm(tpm, ek, DIGEST, root.name);
    const activate = { ...root, authorization: NO_PASSWORD };
    const key = { ...ek, authorization: NO_PASSWORD };
    expect(await activateCredential(tpm, { activate, key, ...made })).toEqual(DIGEST);
    await flushContext(tpm, ek);
  });
});

describe('a hierarchy', () => {
  it('takes a new authorization, is cleared with lockout’s, and has none afterwards', async () => {
    const password = (text: string) => ({
      authorizations: [{ kind: 'password' as const, password: utf8(text) }],
    });
    await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('owner'));
    expect((await refusalOf(hierarchyChangeAuth(tpm, HANDLE.owner, DATA)))?.message).toMatch(
      /TPM_RC_BAD_AUTH/,
    );
    await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('other'), password('owner'));
    await hierarchyChangeAuth(tpm, HANDLE.lockout, utf8('lockout'));
    await clear(tpm, password('lockout'));
    root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  });
});
