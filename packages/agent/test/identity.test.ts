import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { concat, sha256 } from '@kallio/codec';
import { clear, Tpm } from '@kallio/tpm';
import {
  checkAk,
  checkEk,
  checkSigningKey,
  makeCredential,
  nameOf,
  parseAttest,
  parsePublic,
  parseSignature,
  verifySignature,
} from '@kallio/tpm/structures';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openIdentity, type TpmIdentity } from '../src/identity/identity.ts';

interface Running {
  readonly dir: string;
  readonly address: string;
  process: ChildProcess;
}

async function startTpm(dir: string): Promise<ChildProcess> {
  rmSync(join(dir, 's'), { force: true });
  const child = spawn('swtpm', [
    'socket',
    '--tpm2',
    ...['--tpmstate', `dir=${dir}`],
    ...['--server', `type=unixio,path=${join(dir, 's')}`],
    ...['--ctrl', `type=unixio,path=${join(dir, 'c')}`],
    ...['--flags', 'not-need-init,startup-clear'],
  ]);
  for (let i = 0; !existsSync(join(dir, 's')) && i < 100; i++) await wait(20);
  return child;
}

async function makeTpm(): Promise<Running> {
  const dir = mkdtempSync(join(tmpdir(), 'kallio-id-'));
  const { writeFileSync } = await import('node:fs');
  writeFileSync(
    join(dir, 'ca.conf'),
    `statedir = ${dir}\nsigningkey = ${dir}/k.pem\nissuercert = ${dir}/i.pem\ncertserial = ${dir}/n\n`,
  );
  writeFileSync(
    join(dir, 'ca.options'),
    '--platform-manufacturer T\n--platform-version 1\n--platform-model T\n',
  );
  writeFileSync(
    join(dir, 'setup.conf'),
    `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${dir}/ca.conf\ncreate_certs_tool_options = ${dir}/ca.options\n`,
  );
  const made = spawnSync('swtpm_setup', [
    '--tpm2',
    '--tpmstate',
    dir,
    '--create-ek-cert',
    '--config',
    join(dir, 'setup.conf'),
    '--pcr-banks',
    'sha256',
  ]);
  if (made.status !== 0) throw new Error(String(made.stdout) + String(made.stderr));
  return { dir, address: `swtpm:unix:${join(dir, 's')}`, process: await startTpm(dir) };
}

async function stopTpm(tpm: Running): Promise<void> {
  const gone = once(tpm.process, 'exit');
  tpm.process.kill('SIGTERM');
  await gone;
}

describe('an attester’s identity on a real software TPM', () => {
  let tpm: Running;
  let identity: TpmIdentity;
  const state = mkdtempSync(join(tmpdir(), 'kallio-state-'));

  beforeAll(async () => {
    tpm = await makeTpm();
    identity = await openIdentity({ tpm: tpm.address, stateDir: state });
  });
  afterAll(async () => {
    await identity.close();
    await stopTpm(tpm);
    rmSync(tpm.dir, { recursive: true, force: true });
    rmSync(state, { recursive: true, force: true });
  });

  it('has keys with the properties that a verifier demands', () => {
    checkEk(parsePublic(identity.ekPublic));
    checkAk(parsePublic(identity.akPublic));
    checkSigningKey(parsePublic(identity.signingKey.public));
    expect(nameOf(identity.akPublic)).toEqual(identity.akName);
  });

  it('quotes PCRs with the values that the quote covers', async () => {
    const nonce = sha256(new Uint8Array([1]));
    await identity.pcrExtend(14, sha256(new Uint8Array([2])));
    const { attest, signature, values } = await identity.quote([0, 7, 14], nonce);
    const ak = parsePublic(identity.akPublic);
    verifySignature(ak, attest, parseSignature(signature));
    const parsed = parseAttest(attest);
    expect(parsed.extraData).toEqual(nonce);
    expect(parsed.type === 'quote' && parsed.select).toEqual([{ bank: 'sha256', pcrs: [0, 7, 14] }]);
    const all = concat(...[0, 7, 14].map((pcr) => values.get(pcr) ?? new Uint8Array()));
    expect(parsed.type === 'quote' && parsed.digest).toEqual(sha256(all));
    expect(values.get(14)).toEqual(sha256(concat(new Uint8Array(32), sha256(new Uint8Array([2])))));
  });

  it('opens a credential made for its EK and AK, and none made for another AK', async () => {
    const secret = sha256(new Uint8Array([3]));
    const ek = parsePublic(identity.ekPublic);
    const mine = makeCredential(ek, identity.akName, secret);
    expect(await identity.activateCredential(mine.credentialBlob, mine.encryptedSecret)).toEqual(secret);
    const other = makeCredential(ek, nameOf(identity.signingKey.public), secret);
    await expect(
      identity.activateCredential(other.credentialBlob, other.encryptedSecret),
    ).rejects.toMatchObject({
      code: 'TPM_RESPONSE',
    });
  });

  it('certifies its signing key, and signs with it as node:crypto verifies', async () => {
    const { attest, signature } = await identity.certifySigningKey(sha256(new Uint8Array([4])));
    verifySignature(parsePublic(identity.akPublic), attest, parseSignature(signature));
    const parsed = parseAttest(attest);
    expect(parsed.type === 'certify' && parsed.name).toEqual(nameOf(identity.signingKey.public));
    const message = new TextEncoder().encode('an image');
    const der = await identity.sign(sha256(message));
    const key = createPublicKey({ key: Buffer.from(identity.signingKey.spki), format: 'der', type: 'spki' });
    expect(verify('sha256', message, key, der)).toBe(true);
  });

  it('keeps its keys over a reboot, and tells the boots apart', async () => {
    const before = await identity.clock();
    await identity.close();
    await stopTpm(tpm);
    tpm.process = await startTpm(tpm.dir);
    const again = await openIdentity({ tpm: tpm.address, stateDir: state });
    expect(again.akName).toEqual(identity.akName);
    expect((await again.clock()).resetCount).toBeGreaterThan(before.resetCount);
    identity = again;
  });

  it('is another after TPM2_Clear, of the same EK: the old keys are refused by name', async () => {
    const own = await makeTpm();
    const [before, after] = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'kallio-state-')));
    const open = (stateDir = '') => openIdentity({ tpm: own.address, stateDir });
    try {
      const first = await open(before);
      await first.close();
      const owner = Tpm.open(own.address);
      await clear(owner);
      await owner.close();
      await expect(open(before)).rejects.toMatchObject({
        code: 'IDENTITY_OTHER_TPM',
        hint: expect.stringMatching(/enrol again/),
      });
      const second = await open(after);
      await second.close();
      expect(second.ekPublic).toEqual(first.ekPublic);
      expect(second.akName).not.toEqual(first.akName);
    } finally {
      await stopTpm(own);
      for (const dir of [own.dir, before, after]) rmSync(dir ?? '', { recursive: true, force: true });
    }
  });

  it('refuses a state folder that was copied to another TPM', async () => {
    const other = await makeTpm();
    try {
      await expect(openIdentity({ tpm: other.address, stateDir: state })).rejects.toMatchObject({
        code: 'IDENTITY_OTHER_TPM',
      });
      const fresh = mkdtempSync(join(tmpdir(), 'kallio-state-'));
      const own = await openIdentity({ tpm: other.address, stateDir: fresh });
      await own.close();
      rmSync(fresh, { recursive: true, force: true });
    } finally {
      await stopTpm(other);
      rmSync(other.dir, { recursive: true, force: true });
    }
  });
});
