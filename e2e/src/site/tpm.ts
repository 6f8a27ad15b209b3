import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { shutdown, Tpm } from '@kallio/tpm';
import { must, Service } from './process.ts';

/** A TPM maker of our own: an authority that signs the EK certificates of the software TPMs it makes. */
export class TpmMaker {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async create(dir: string): Promise<TpmMaker> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const file = (name: string) => join(dir, name);
    await writeFile(
      file('localca.conf'),
      [
        `statedir = ${dir}`,
        `signingkey = ${file('signkey.pem')}`,
        `issuercert = ${file('issuercert.pem')}`,
        `certserial = ${file('certserial')}`,
        '',
      ].join('\n'),
    );
    await writeFile(
      file('localca.options'),
      '--platform-manufacturer Kallio\n--platform-version 1\n--platform-model demo\n',
    );
    await writeFile(
      file('setup.conf'),
      [
        'create_certs_tool = /usr/bin/swtpm_localca',
        `create_certs_tool_config = ${file('localca.conf')}`,
        `create_certs_tool_options = ${file('localca.options')}`,
        '',
      ].join('\n'),
    );
    return new TpmMaker(dir);
  }

  /** The maker's root and intermediate, PEM files: what an operator pins. */
  get roots(): string[] {
    return [join(this.#dir, 'swtpm-localca-rootca-cert.pem'), join(this.#dir, 'issuercert.pem')];
  }

  /** Makes a TPM with EK certificates, RSA and ECC. Not for two at once: they share the maker's serial number. */
  async make(stateDir: string): Promise<void> {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await must('swtpm_setup', [
      '--tpm2',
      ...['--tpmstate', stateDir],
      '--create-ek-cert',
      ...['--config', join(this.#dir, 'setup.conf')],
      ...['--pcr-banks', 'sha256'],
    ]);
  }
}

/** A software TPM, powered on. */
export class SoftwareTpm {
  readonly #stateDir: string;
  readonly #logFile: string;
  #service: Service | undefined;

  constructor(stateDir: string, logFile: string) {
    this.#stateDir = stateDir;
    this.#logFile = logFile;
  }

  /** Where an agent reaches it. */
  get address(): string {
    return `swtpm:unix:${this.socket}`;
  }

  get socket(): string {
    return join(this.#stateDir, 'tpm.sock');
  }

  async powerOn(): Promise<void> {
    await rm(this.socket, { force: true });
    this.#service = await Service.start(
      'swtpm',
      this.#logFile,
      'swtpm',
      [
        'socket',
        '--tpm2',
        ...['--tpmstate', `dir=${this.#stateDir}`],
        ...['--server', `type=unixio,path=${this.socket}`],
        ...['--ctrl', `type=unixio,path=${this.socket}.ctrl`],
        ...['--flags', 'not-need-init,startup-clear'],
      ],
      () => existsSync(this.socket),
    );
  }

  /** It answers nothing while `work` lasts, as a chip that tests itself. */
  async stalled<T>(work: () => Promise<T>): Promise<T> {
    this.#service?.freeze();
    try {
      return await work();
    } finally {
      this.#service?.wake();
    }
  }

  /** As an operating system goes down: TPM2_Shutdown(CLEAR) first, so that the clock is kept. Then the power is cut. */
  async powerOff(): Promise<void> {
    if (this.#service?.running === true) {
      const tpm = Tpm.open(this.address);
      // One that can't be told so any more loses its power all the same.
      await shutdown(tpm, 'clear')
        .catch(() => undefined)
        .finally(() => tpm.close());
    }
    await this.#service?.stop();
    this.#service = undefined;
  }
}
