import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** A software TPM with a folder, in which tpm2-tools work on it as a person would. */
export class ToolTpm {
  readonly dir: string;
  readonly #process: ChildProcess;

  private constructor(dir: string, process: ChildProcess) {
    this.dir = dir;
    this.#process = process;
  }

  static async start(): Promise<ToolTpm> {
    const dir = mkdtempSync(join(tmpdir(), 'kallio-tools-'));
    const made = spawnSync('swtpm_setup', ['--tpm2', '--tpmstate', dir, '--pcr-banks', 'sha1,sha256']);
    if (made.status !== 0) throw new Error(`swtpm_setup failed: ${made.stdout}${made.stderr}`);
    const socket = join(dir, 's');
    const process = spawn(
      'swtpm',
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${dir}`, '--flags', 'not-need-init,startup-clear'],
        ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
      ],
      { stdio: 'ignore' },
    );
    for (let i = 0; !existsSync(socket) && i < 250; i++) await wait(20);
    const tpm = new ToolTpm(dir, process);
    tpm.tool('tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-c', 'root.ctx');
    return tpm;
  }

  /** Runs a tool in the folder; what it loaded is flushed afterwards. */
  tool(name: string, ...args: readonly string[]): string {
    try {
      return this.#run(name, args);
    } finally {
      this.#run('tpm2_flushcontext', ['-t']);
    }
  }

  #run(name: string, args: readonly string[]): string {
    const tcti = `swtpm:path=${join(this.dir, 's')}`;
    const ran = spawnSync(name, [...args, '-T', tcti], { cwd: this.dir, encoding: 'utf8' });
    if (ran.status !== 0) throw new Error(`${name} ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** Makes a key under the storage root, by name: `NAME.ctx`, `NAME.pub` (TPM2B), `NAME.tpmt`, `NAME.pem`. */
  key(name: string, algorithm: string, attributes = AK): void {
    this.tool(
      'tpm2_create',
      ...['-C', 'root.ctx', '-G', algorithm, '-a', attributes, '-u', `${name}.pub`, '-r', `${name}.priv`],
    );
    const files = ['-u', `${name}.pub`, '-r', `${name}.priv`, '-c', `${name}.ctx`];
    this.tool('tpm2_load', '-C', 'root.ctx', ...files);
    this.tool('tpm2_readpublic', '-c', `${name}.ctx`, '-f', 'tpmt', '-o', `${name}.tpmt`);
    this.tool('tpm2_readpublic', '-c', `${name}.ctx`, '-f', 'pem', '-o', `${name}.pem`);
  }

  /** Quotes: `NAME.msg`, `NAME.sig`, `NAME.pcrs`. */
  quote(name: string, key: string, nonce: string, pcrs: string, ...more: string[]): void {
    this.tool(
      'tpm2_quote',
      ...['-c', `${key}.ctx`, '-l', pcrs, '-q', nonce],
      ...['-m', `${name}.msg`, '-s', `${name}.sig`, '-o', `${name}.pcrs`, ...more],
    );
  }

  path(file: string): string {
    return join(this.dir, file);
  }

  async remove(): Promise<void> {
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const COMMON = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth';
/** Attributes of an attestation key. */
const AK = `${COMMON}|restricted|sign`;
/** Those of a key that signs whatever it is given. */
export const UNRESTRICTED = `${COMMON}|sign`;
