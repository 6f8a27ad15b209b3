import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { sha256, toHex, utf8 } from '@kallio/codec';
import type { SigningApproval } from '@kallio/protocol';
import {
  approvalMessage,
  checkGoverned,
  checkSigningKey,
  governingPolicy,
  nameOf,
  parsePublic,
  pcrPolicy,
  publicKeyOf,
  signingAuthority,
  signingPolicyOf,
} from '@kallio/tpm/structures';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openIdentity, type TpmIdentity } from '../src/identity/identity.ts';

/*
 * A signing key in a real software TPM, under an operator's policy: it signs in the PCR states that the operator
 * approved, and in no other; the TPM itself says so.
 */

const code = (c: string) => expect.objectContaining({ code: c });
const DIGEST = sha256(utf8('what is to be signed'));

let dir: string;
let child: ChildProcess;
let identity: TpmIdentity;
const operator = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const authority = signingAuthority(
  new Uint8Array(operator.publicKey.export({ format: 'der', type: 'spki' })),
);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-govern-'));
  const file = (name: string, text: string) => writeFileSync(join(dir, name), text);
  file('ca.conf', `statedir = ${dir}\nsigningkey = ${dir}/k\nissuercert = ${dir}/i\ncertserial = ${dir}/n\n`);
  file('ca.options', '--platform-manufacturer T\n--platform-version 1\n--platform-model T\n');
  file(
    'setup.conf',
    `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${dir}/ca.conf\ncreate_certs_tool_options = ${dir}/ca.options\n`,
  );
  const config = ['--config', join(dir, 'setup.conf')];
  const made = spawnSync('swtpm_setup', [
    ...['--tpm2', '--tpmstate', dir, '--create-ek-cert', '--pcr-banks', 'sha256'],
    ...config,
  ]);
  if (made.status !== 0) throw new Error(String(made.stdout) + String(made.stderr));
  mkdirSync(join(dir, 'approvals'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeEach(async () => {
  rmSync(join(dir, 's'), { force: true });
  child = spawn('swtpm', [
    ...['socket', '--tpm2', '--tpmstate', `dir=${dir}`, '--flags', 'not-need-init,startup-clear'],
    ...['--server', `type=unixio,path=${join(dir, 's')}`, '--ctrl', `type=unixio,path=${join(dir, 'c')}`],
  ]);
  for (let i = 0; !existsSync(join(dir, 's')) && i < 200; i++) await wait(20);
  rmSync(join(dir, 'approvals'), { recursive: true });
  mkdirSync(join(dir, 'approvals'));
  identity = await open();
});
afterEach(async () => {
  await identity.close();
  const gone = once(child, 'exit');
  child.kill();
  await gone;
});

function open(governed = true, by = authority): Promise<TpmIdentity> {
  const governance = { authority: by, approvals: join(dir, 'approvals') };
  return openIdentity({
    tpm: `swtpm:unix:${join(dir, 's')}`,
    stateDir: join(dir, 'state'),
    ...(governed ? { governance } : {}),
  });
}

function approve(name: string, pcrs: ReadonlyMap<number, Uint8Array>, key: KeyObject = operator.privateKey) {
  const message = approvalMessage(pcrPolicy(pcrs));
  const signature = sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
  const approval: SigningApproval = {
    version: 'kallio-signing-approval-v1',
    pcrs: Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), toHex(value)])),
    signature: signature.toString('hex'),
  };
  writeFileSync(join(dir, 'approvals', `${name}.json`), JSON.stringify(approval));
}

const now = () => identity.pcrValues([0, 4, 7]);

function holds(signature: Uint8Array, by: TpmIdentity = identity): boolean {
  const key = publicKeyOf(parsePublic(by.signingKey.public));
  return verify('sha256', utf8('what is to be signed'), key, signature);
}

describe('a signing key under the operator’s policy', () => {
  it('signs in an approved state, and in no other', async () => {
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_NOT_APPROVED'));
    approve('now', await now());
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    await identity.pcrExtend(4, new Uint8Array(32).fill(1));
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_NOT_APPROVED'));
  });

  it('says beforehand whether it would sign, by asking the TPM, and may be asked often', async () => {
    await expect(identity.requireApproval()).rejects.toThrow(code('SIGNING_NOT_APPROVED'));
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    approve('now', await now(), stranger.privateKey);
    await expect(identity.requireApproval()).rejects.toThrow(code('SIGNING_APPROVAL_FORGED'));
    approve('now', await now());
    // Nothing stays loaded of it: a TPM has three places for objects, three for sessions.
    for (let i = 0; i < 8; i++) await identity.requireApproval();
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    await identity.pcrExtend(4, new Uint8Array(32).fill(1));
    await expect(identity.requireApproval()).rejects.toThrow(code('SIGNING_NOT_APPROVED'));
    await identity.close();
    identity = await open(false);
    await identity.requireApproval();
  });

  it('survives an announced update: the new state is approved before it comes', async () => {
    const before = await now();
    approve('now', before);
    const key = identity.signingKey.public;
    const update = new Uint8Array(32).fill(2);
    const announced = new Map(before).set(4, sha256(Buffer.concat([before.get(4) ?? update, update])));
    approve('announced', announced);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    await identity.pcrExtend(4, update);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    expect(identity.signingKey.public).toEqual(key);
  });

  it('is not opened by an approval of somebody else, nor by one whose values were changed', async () => {
    const values = await now();
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    approve('now', values, stranger.privateKey);
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_APPROVAL_FORGED'));
    // The operator approved another state; its signature is put beside the values of this one.
    approve('now', new Map(values).set(4, new Uint8Array(32).fill(9)));
    const { readFileSync } = await import('node:fs');
    const file = join(dir, 'approvals', 'now.json');
    const approval = JSON.parse(readFileSync(file, 'utf8')) as SigningApproval;
    const pcrs = { ...approval.pcrs, '4': toHex(values.get(4) ?? new Uint8Array(32)) };
    writeFileSync(file, JSON.stringify({ ...approval, pcrs }));
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_APPROVAL_FORGED'));
    approve('now', values);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
  });

  it('takes the good approval beside those that are forged, no approval, or no file', async () => {
    const values = await now();
    const put = (name: string, text: string) => writeFileSync(join(dir, 'approvals', name), text);
    // Each comes before the good one.
    approve('a-forged', values, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    put('b-nonsense.json', '{');
    put('c-other.json', '{"version":"kallio-signing-approval-v2"}');
    put('d-large.json', ' '.repeat(20_000));
    mkdirSync(join(dir, 'approvals', 'e-folder.json'));
    const refusal = await identity.sign(DIGEST).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refusal).toMatchObject({ code: 'SIGNING_APPROVAL_FORGED' });
    expect(String(refusal)).toContain('a-forged.json');
    expect(String(refusal)).toContain('b-nonsense.json (JSON_SYNTAX)');
    rmSync(join(dir, 'approvals', 'a-forged.json'));
    await expect(identity.sign(DIGEST)).rejects.toMatchObject({
      code: 'SIGNING_NOT_APPROVED',
      message: expect.stringContaining('c-other.json (SIGNING_APPROVAL)'),
    });
    approve('a-forged', values, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    approve('z-good', values);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    // Taken out of the folder, it opens the key no more; put back by whoever kept it, it does.
    rmSync(join(dir, 'approvals', 'z-good.json'));
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_APPROVAL_FORGED'));
    approve('z-good', values);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
  });

  it('opens by no approval that was given, once it is under another operator', async () => {
    const values = await now();
    approve('now', values);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    const rotated = identity.signingKey.public;
    await identity.close();
    const next = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = new Uint8Array(next.publicKey.export({ format: 'der', type: 'spki' }));
    identity = await open(true, signingAuthority(spki));
    expect(identity.signingKey.public).not.toEqual(rotated);
    await expect(identity.sign(DIGEST)).rejects.toThrow(code('SIGNING_APPROVAL_FORGED'));
    approve('next', values, next.privateKey);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
  });

  it('says in its public area that it is under that policy, and only so', async () => {
    const key = parsePublic(identity.signingKey.public);
    checkSigningKey(key);
    checkGoverned(key, authority);
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    const foreign = signingAuthority(new Uint8Array(other.export({ format: 'der', type: 'spki' })));
    expect(() => checkGoverned(key, foreign)).toThrow(code('TPM_KEY_POLICY'));
    const open = { ...key, attributes: { ...key.attributes, userWithAuth: true } };
    expect(() => checkGoverned(open, authority)).toThrow(code('TPM_KEY_AUTH'));
    expect(governingPolicy(key)).toEqual(signingPolicyOf(nameOf(authority)));
    expect(governingPolicy(open)).toBeUndefined();
    expect(governingPolicy({ ...key, authPolicy: new Uint8Array(0) })).toBeUndefined();
  });

  it('is certified by the AK without an approval: to be vouched for is not to be used', async () => {
    const { attest } = await identity.certifySigningKey(new Uint8Array(32));
    expect(attest.length).toBeGreaterThan(0);
  });

  it('is replaced by rotation, and by another governance; the AK stays', async () => {
    approve('now', await now());
    const [old, ak] = [identity.signingKey, identity.akPublic];
    const signature = await identity.sign(DIGEST);
    await identity.rotateSigningKey();
    expect(identity.signingKey.public).not.toEqual(old.public);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
    // What the old key signed still verifies by the old key.
    const oldKey = publicKeyOf(parsePublic(old.public));
    expect(verify('sha256', utf8('what is to be signed'), oldKey, signature)).toBe(true);
    const rotated = identity.signingKey.public;
    await identity.close();
    identity = await open();
    expect(identity.signingKey.public).toEqual(rotated);
    await identity.close();
    identity = await open(false);
    expect(identity.signingKey.public).not.toEqual(rotated);
    expect(identity.akPublic).toEqual(ak);
    expect(holds(await identity.sign(DIGEST))).toBe(true);
  });
});
