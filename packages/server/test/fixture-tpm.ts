import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { concat } from '@kallio/codec';
import {
  activateCredential,
  akTemplate,
  certify,
  clear,
  create,
  createPrimary,
  ekTemplate,
  flushContext,
  getCapability,
  HANDLE,
  type Loaded,
  load,
  NO_PASSWORD,
  nvRead,
  nvReadPublic,
  pcrExtend,
  quote,
  readPcrs,
  shutdown,
  sign,
  signingKeyTemplate,
  storageTemplate,
  Tpm,
} from '@kallio/tpm';
import { ecdsaDer } from '@kallio/tpm/structures';

/** A maker of software TPMs: an authority of its own, so that a test pins nothing of the machine's. */
export class Maker {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
    const lines = [
      `statedir = ${dir}`,
      `signingkey = ${join(dir, 'signkey.pem')}`,
      `issuercert = ${join(dir, 'issuercert.pem')}`,
      `certserial = ${join(dir, 'certserial')}`,
    ];
    writeFileSync(join(dir, 'ca.conf'), `${lines.join('\n')}\n`);
    writeFileSync(
      join(dir, 'ca.options'),
      '--platform-manufacturer Test\n--platform-version 1\n--platform-model t\n',
    );
    const setup = [
      'create_certs_tool = /usr/bin/swtpm_localca',
      `create_certs_tool_config = ${join(dir, 'ca.conf')}`,
      `create_certs_tool_options = ${join(dir, 'ca.options')}`,
    ];
    writeFileSync(join(dir, 'setup.conf'), `${setup.join('\n')}\n`);
  }

  /** PEM files that an operator would pin. */
  get roots(): string[] {
    return [join(this.#dir, 'swtpm-localca-rootca-cert.pem'), join(this.#dir, 'issuercert.pem')];
  }

  /** Makes a TPM and powers it on. */
  async make(name: string): Promise<TestTpm> {
    const state = join(this.#dir, name);
    mkdirSync(state);
    const args = [
      '--tpm2',
      '--tpmstate',
      state,
      '--create-ek-cert',
      '--config',
      join(this.#dir, 'setup.conf'),
    ];
    execFileSync('swtpm_setup', [...args, '--pcr-banks', 'sha256'], { stdio: 'ignore' });
    const tpm = new TestTpm(state);
    await tpm.powerOn();
    return tpm;
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => socket.end(() => resolve(true)));
    socket.on('error', () => resolve(false));
  });
}

/** A real swtpm process with the keys of an attester in it. */
export class TestTpm {
  readonly #state: string;
  #process: ReturnType<typeof spawn> | undefined;
  #open: { tpm: Tpm; ak: Loaded; signingKey: Loaded } | undefined;
  /** The policy that the signing key is under, from the next boot on. */
  signingPolicy: Uint8Array | undefined;
  ekPublic = new Uint8Array(0);
  ekCertificate = new Uint8Array(0);

  constructor(state: string) {
    this.#state = state;
  }

  get #keys() {
    if (this.#open === undefined) throw new Error('this TPM is off');
    return this.#open;
  }

  get akPublic(): Uint8Array {
    return this.#keys.ak.public;
  }

  get signingPublic(): Uint8Array {
    return this.#keys.signingKey.public;
  }

  /** A boot: TPM2_Startup(CLEAR). The keys are the same as in the last one. */
  async powerOn(): Promise<void> {
    const socket = join(this.#state, 'sock');
    rmSync(socket, { force: true });
    this.#process = spawn(
      'swtpm',
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${this.#state}`],
        ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
        ...['--flags', 'not-need-init,startup-clear'],
      ],
      { stdio: 'ignore' },
    );
    // The socket's name is there a moment before anybody listens on it.
    while (!(await answers(socket))) await wait(5);
    const tpm = Tpm.open(`swtpm:unix:${socket}`);
    const nv = await nvReadPublic(tpm, 0x01c00016);
    if (nv === undefined) throw new Error('swtpm_setup made no EK certificate');
    this.ekCertificate = new Uint8Array(await nvRead(tpm, nv));
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    this.ekPublic = new Uint8Array(ek.public);
    await flushContext(tpm, ek.handle);
    this.#open = { tpm, ...(await this.#loadKeys(tpm)) };
  }

  async powerOff(): Promise<void> {
    if (this.#open !== undefined) {
      // As an operating system does: a TPM counts a power cut as an attempt to guess.
      await shutdown(this.#open.tpm, 'clear');
      await this.#open.tpm.close();
    }
    this.#open = undefined;
    const process = this.#process;
    if (process === undefined) return;
    const gone = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGTERM');
    await gone;
    this.#process = undefined;
  }

  async reboot(): Promise<void> {
    await this.powerOff();
    await this.powerOn();
  }

  /** Another AK under the same EK, as after a reinstallation. */
  async newAk(): Promise<void> {
    const { tpm, ak, signingKey } = this.#keys;
    await flushContext(tpm, ak.handle);
    await flushContext(tpm, signingKey.handle);
    rmSync(join(this.#state, 'ak'));
    this.#open = { tpm, ...(await this.#loadKeys(tpm)) };
  }

  /** TPM2_Clear, as an owner does who begins anew: the EK stays, and nothing else. */
  async clear(): Promise<void> {
    const { tpm } = this.#keys;
    await clear(tpm);
    // What is kept of the old keys is of no use any more.
    await this.#loadKeys(tpm).then(
      () => {
        throw new Error('the TPM loads keys of before TPM2_Clear');
      },
      () => undefined,
    );
    for (const { handle } of [this.#keys.ak, this.#keys.signingKey]) {
      await flushContext(tpm, handle).catch(() => undefined);
    }
    for (const handle of (await getCapability(tpm, 'handles', 0x8000_0000)).values)
      await flushContext(tpm, handle);
    for (const key of ['ak', 'signing']) rmSync(join(this.#state, key));
    this.#open = { tpm, ...(await this.#loadKeys(tpm)) };
  }

  /** Opens a credential, as only the TPM with this EK and AK can. */
  async activate(credentialBlob: Uint8Array, encryptedSecret: Uint8Array): Promise<Uint8Array> {
    const { tpm, ak } = this.#keys;
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    try {
      return await activateCredential(tpm, {
        activate: { handle: ak.handle, authorization: NO_PASSWORD },
        key: { handle: ek.handle, authorization: NO_PASSWORD },
        credentialBlob,
        encryptedSecret,
      });
    } finally {
      await flushContext(tpm, ek.handle);
    }
  }

  async quote(pcrs: readonly number[], qualifyingData: Uint8Array) {
    const { tpm, ak } = this.#keys;
    const attested = await quote(tpm, ak.handle, qualifyingData, [{ bank: 'sha256', pcrs: [...pcrs] }]);
    return { ...attested, values: await readPcrs(tpm, 'sha256', pcrs) };
  }

  extend(pcr: number, digest: Uint8Array): Promise<void> {
    return pcrExtend(this.#keys.tpm, pcr, [['sha256', digest]]);
  }

  certifySigningKey(qualifyingData: Uint8Array) {
    const { tpm, ak, signingKey } = this.#keys;
    return certify(tpm, signingKey.handle, ak.handle, qualifyingData);
  }

  /** ECDSA by the signing key, DER. */
  async sign(digest: Uint8Array): Promise<Uint8Array> {
    return ecdsaDer(await sign(this.#keys.tpm, this.#keys.signingKey.handle, digest));
  }

  async #loadKeys(tpm: Tpm): Promise<{ ak: Loaded; signingKey: Loaded }> {
    const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
    const loaded = async (name: string, template: Parameters<typeof create>[2]) => {
      const file = join(this.#state, name);
      if (!existsSync(file)) {
        const made = await create(tpm, root.handle, template);
        const length = new Uint8Array([made.private.length >> 8, made.private.length & 0xff]);
        writeFileSync(file, concat(length, made.private, made.public));
      }
      const bytes = new Uint8Array(readFileSync(file));
      const end = 2 + (((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0));
      return load(tpm, root.handle, { private: bytes.slice(2, end), public: bytes.slice(end) });
    };
    const keys = {
      ak: await loaded('ak', akTemplate()),
      signingKey: await loaded(
        this.signingPolicy === undefined ? 'signing' : 'governed',
        signingKeyTemplate(this.signingPolicy),
      ),
    };
    await flushContext(tpm, root.handle);
    return keys;
  }
}
