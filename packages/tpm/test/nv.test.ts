import { sha256, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  akTemplate,
  createPrimary,
  flushContext,
  HANDLE,
  type NvPublic,
  nvCertify,
  nvDefineSpace,
  nvExtend,
  nvRead,
  nvReadPublic,
  nvUndefineSpace,
  nvWrite,
  type Tpm,
} from '../src/index.ts';
import {
  NV_ATTRIBUTE as NV,
  nvName,
  parseAttest,
  parsePublic,
  parseSignature,
  verifySignature,
} from '../src/structures/index.ts';
import { refusalOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const none = new Uint8Array(0);
const index: NvPublic = {
  index: 0x0150_0001,
  nameAlg: 'sha256',
  attributes: NV.ownerWrite | NV.ownerRead | NV.authWrite | NV.authRead | NV.noDA,
  authPolicy: none,
  dataSize: 1300,
};
const log: NvPublic = {
  ...index,
  index: 0x0150_0002,
  attributes: (index.attributes | NV.extend) >>> 0,
  dataSize: 32,
};

let swtpm: Swtpm;
let tpm: Tpm;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

describe('an NV index', () => {
  const auth = utf8('index');
  const data = new Uint8Array(1300).map((_, at) => at);

  it('is defined, written and read in parts, and gone when it is undefined', async () => {
    await nvDefineSpace(tpm, index, auth);
    expect(await nvReadPublic(tpm, index.index)).toEqual(index);
    expect((await refusalOf(nvRead(tpm, index)))?.message).toMatch(/TPM_RC_NV_UNINITIALIZED/);
    const now = await nvWrite(tpm, index, data);
    expect(await nvReadPublic(tpm, index.index)).toEqual(now);
    expect(nvName(now)).not.toEqual(nvName(index));
    expect(await nvRead(tpm, now)).toEqual(data);
    expect((await refusalOf(nvDefineSpace(tpm, index)))?.message).toMatch(/TPM_RC_NV_DEFINED/);
    await nvUndefineSpace(tpm, now);
    expect(await nvReadPublic(tpm, index.index)).toBeUndefined();
  });

  it('is written and read with its own authorization, and not with a wrong one', async () => {
    await nvDefineSpace(tpm, index, auth);
    const password = { by: 'index', authorizations: [{ kind: 'password', password: auth }] } as const;
    const now = await nvWrite(tpm, index, data, password);
    expect(await nvRead(tpm, now, password)).toEqual(data);
    expect((await refusalOf(nvRead(tpm, now, { by: 'index' })))?.message).toMatch(/TPM_RC_BAD_AUTH/);
    await nvUndefineSpace(tpm, now);
  });

  it('is extended like a PCR, and certified with what it holds', async () => {
    await nvDefineSpace(tpm, log, none);
    const first = await nvExtend(tpm, log, utf8('one'));
    const now = await nvExtend(tpm, first, utf8('two'));
    const expected = sha256(sha256(new Uint8Array(32), utf8('one')), utf8('two'));
    expect(await nvRead(tpm, now)).toEqual(expected);
    const ak = await createPrimary(tpm, HANDLE.owner, akTemplate());
    const { attest, signature } = await nvCertify(tpm, now, ak, sha256(none));
    verifySignature(parsePublic(ak.public), attest, parseSignature(signature));
    expect(parseAttest(attest)).toMatchObject({
      type: 'nv',
      indexName: nvName(now),
      offset: 0,
      contents: expected,
      extraData: sha256(none),
    });
    await flushContext(tpm, ak);
    await nvUndefineSpace(tpm, now);
  });
});
