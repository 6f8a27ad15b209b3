import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openTransport, Tpm, type Transport } from '../../src/index.ts';

/** Where a software TPM listens. */
export type Listen = 'unix' | 'tcp';

/** A software TPM of its own in a folder of its own. It takes one client at a time: close ours before a tool runs. */
export class Swtpm {
  readonly dir: string;
  readonly address: string;
  /** For tpm2-tools: what `-T` takes. */
  readonly tcti: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(dir: string, address: string, tcti: string, args: readonly string[]) {
    this.dir = dir;
    this.address = address;
    this.tcti = tcti;
    this.#args = args;
  }

  /** Makes a TPM (without EK certificates) and powers it on. */
  static async start(listen: Listen = 'unix'): Promise<Swtpm> {
    const dir = mkdtempSync(join(tmpdir(), 'kallio-tpm-'));
    const made = spawnSync('swtpm_setup', ['--tpm2', '--tpmstate', dir, '--pcr-banks', 'sha256,sha384']);
    if (made.status !== 0) throw new Error(`swtpm_setup failed: ${made.stdout}${made.stderr}`);
    const swtpm = listen === 'unix' ? Swtpm.#onUnix(dir) : await Swtpm.#onTcp(dir);
    await swtpm.powerOn();
    return swtpm;
  }

  static #onUnix(dir: string): Swtpm {
    const path = join(dir, 's');
    const args = ['--server', `type=unixio,path=${path}`, '--ctrl', `type=unixio,path=${path}.ctrl`];
    return new Swtpm(dir, `swtpm:unix:${path}`, `swtpm:path=${path}`, args);
  }

  static async #onTcp(dir: string): Promise<Swtpm> {
    const port = await freePort();
    const args = ['--server', `type=tcp,port=${port}`, '--ctrl', `type=unixio,path=${join(dir, 'ctrl')}`];
    return new Swtpm(dir, `swtpm:127.0.0.1:${port}`, 'none', args);
  }

  /** A way to it, as bytes. */
  transport(): Transport {
    return openTransport(this.address);
  }

  open(): Tpm {
    return Tpm.open(this.address);
  }

  /** Powers on; without `started`, as a machine does whose firmware has yet to send TPM2_Startup. */
  async powerOn(started = true): Promise<void> {
    const flags = started ? 'not-need-init,startup-clear' : 'not-need-init';
    const state = ['--tpmstate', `dir=${this.dir}`, '--flags', flags];
    this.#process = spawn('swtpm', ['socket', '--tpm2', ...state, ...this.#args], { stdio: 'ignore' });
    for (let i = 0; i < 250; i++) {
      if (await answers(this.address)) return;
      await wait(20);
    }
    throw new Error('swtpm did not start');
  }

  /** Ends the process: what it held in memory is gone. */
  async powerOff(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined || process.exitCode !== null) return;
    const gone = once(process, 'exit');
    process.kill('SIGKILL');
    await gone;
  }

  /** Stops answering, or goes on, without losing connections: a TPM that stalls. */
  stall(yes: boolean): void {
    this.#process?.kill(yes ? 'SIGSTOP' : 'SIGCONT');
  }

  /**
   * Runs one of tpm2-tools on this TPM, in its folder; gives what it printed. Without a resource manager the tools leave
   * their objects loaded: all are flushed afterwards, ours too.
   */
  tool(name: string, ...args: readonly string[]): string {
    try {
      return this.#run(name, ['-T', this.tcti, ...args]);
    } finally {
      this.#run('tpm2_flushcontext', ['-T', this.tcti, '-t']);
    }
  }

  /** As {@link tool}, for tools that need no TPM. */
  offline(name: string, ...args: readonly string[]): string {
    return this.#run(name, args);
  }

  #run(name: string, args: readonly string[]): string {
    const run = spawnSync(name, args, { cwd: this.dir, encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`${name} ${args.join(' ')}: ${run.stderr}`);
    return run.stdout;
  }

  read(file: string): Uint8Array {
    return new Uint8Array(readFileSync(join(this.dir, file)));
  }

  write(file: string, bytes: Uint8Array): void {
    writeFileSync(join(this.dir, file), bytes);
  }

  async remove(): Promise<void> {
    await this.powerOff();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function answers(address: string): Promise<boolean> {
  const path = /^swtpm:unix:(.+)$/.exec(address)?.[1];
  const port = Number(/:(\d+)$/.exec(address)?.[1]);
  return new Promise((resolve) => {
    const socket = connect(path === undefined ? { host: '127.0.0.1', port } : { path });
    socket.once('connect', () => socket.end(() => resolve(true)));
    socket.once('error', () => resolve(false));
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
