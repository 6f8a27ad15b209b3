import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must, until } from '@kallio/e2e/process';
import type { Image } from '../image/image.ts';
import { type Executed, execute } from './channel.ts';
import { Daemon } from './daemon.ts';
import { type Boot, FIRMWARE_VARIABLES, type HostPorts, machineFiles, qemuArguments } from './qemu.ts';

/** What a machine is made of; kept in its folder, so that another command finds it again. */
interface Made {
  readonly image: Image;
  readonly ports: HostPorts;
}

/** The configuration that a site gives to a machine: files by their names, none of them executed. */
export type Configuration = Readonly<Record<string, string>>;

const BOOT_SECONDS = 180;
const SCRIPT_MS = 300_000;
/** Printed by `lab/image/exec` when a machine is set up and scripts can be sent to it. */
const READY = 'lab: ready';

/** A machine: QEMU, firmware, a TPM of its own, disks, in a folder of its own. */
export class Machine {
  readonly name: string;
  readonly dir: string;
  readonly #qemu: Daemon;
  readonly #tpm: Daemon;

  constructor(name: string, dir: string) {
    this.name = name;
    this.dir = dir;
    this.#qemu = new Daemon('qemu', dir);
    this.#tpm = new Daemon('swtpm', dir);
  }

  get files() {
    return machineFiles(this.dir);
  }

  get running(): boolean {
    return this.#qemu.running;
  }

  get processes(): readonly Daemon[] {
    return [this.#qemu, this.#tpm];
  }

  /** Makes its disks above the image's, and puts in its TPM: a folder with the state of one that was made for it. */
  async make(made: Made, configuration: Configuration, tpm: string): Promise<void> {
    const { image } = made;
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    await writeFile(join(this.dir, 'machine.json'), JSON.stringify(made, null, 2));
    await copyFile(FIRMWARE_VARIABLES, this.files.variables);
    if (image.flavour === 'plain') await layer(image.disk, this.files.disk);
    if (image.varDisk !== undefined) await layer(image.varDisk, this.files.varDisk);
    await this.configure(configuration);
    await rename(tpm, this.files.tpmState);
  }

  async made(): Promise<Made> {
    return JSON.parse(await readFile(join(this.dir, 'machine.json'), 'utf8')) as Made;
  }

  /** Writes the configuration disk; it counts from the next start on. */
  async configure(configuration: Configuration): Promise<void> {
    const folder = join(this.dir, 'configuration');
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
    for (const [name, text] of Object.entries(configuration)) {
      await writeFile(join(folder, name), text, { mode: 0o600 });
    }
    await must('tar', ['-C', folder, '-cf', this.files.configuration, '.']);
  }

  /** Powers it on, with what it last started from unless told otherwise, and waits until it is set up. */
  async start(change: Partial<Boot> = {}): Promise<void> {
    const { image, ports } = await this.made();
    const { kernel, initrd, commandLine } = { ...image, ...change };
    // What a power cut has left of the run before.
    for (const socket of [this.files.tpmSocket, this.files.channel]) await rm(socket, { force: true });
    await this.#tpm.start(
      'swtpm',
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${this.files.tpmState}`],
        ...['--ctrl', `type=unixio,path=${this.files.tpmSocket}`],
      ],
      () => existsSync(this.files.tpmSocket),
    );
    const before = await this.#timesReady();
    const args = qemuArguments(this.dir, { image, ports, boot: { kernel, initrd, commandLine } });
    await this.#qemu.start('qemu-system-x86_64', args, () => existsSync(this.files.channel));
    await this.#setUp(before);
  }

  /** Runs a shell script in it. */
  exec(script: string, timeoutMs = SCRIPT_MS): Promise<Executed> {
    return execute(this.files.channel, script, timeoutMs);
  }

  /** Runs a shell script in it that must succeed, and gives what it printed. */
  async must(script: string, timeoutMs = SCRIPT_MS): Promise<string> {
    const { code, stdout, stderr } = await this.exec(script, timeoutMs);
    if (code !== 0) throw new Error(`On ${this.name}, ended with ${code}: ${script}\n${stderr}${stdout}`);
    return stdout;
  }

  /** Restarts it as an operating system does: firmware and TPM begin anew, QEMU stays. */
  async reboot(): Promise<void> {
    const before = await this.#timesReady();
    await this.must('(sleep 0.2; busybox reboot) >/dev/null 2>&1 &');
    await this.#setUp(before);
  }

  /** Shuts it down as an operating system does, and takes the power away. */
  async powerOff(): Promise<void> {
    if (this.running) {
      await this.exec('(sleep 0.2; busybox poweroff) >/dev/null 2>&1 &', 20_000).catch(() => undefined);
      if (!(await this.#qemu.ended(45))) await this.#qemu.stop('SIGKILL');
    }
    await this.#tpm.stop();
  }

  /** Takes the power away at once: from the machine and from its TPM, which is told nothing. */
  async powerCut(): Promise<void> {
    await this.#qemu.stop('SIGKILL');
    await this.#tpm.stop('SIGKILL');
  }

  /** Stops its processor where it is, as a hypervisor does; its connections stay open. */
  freeze(): void {
    this.#signal('SIGSTOP');
  }

  /** Lets a stopped processor go on. */
  thaw(): void {
    this.#signal('SIGCONT');
  }

  #signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    const { pid } = this.#qemu;
    if (pid === undefined) throw new Error(`${this.name} is off.`);
    process.kill(pid, signal);
  }

  /** What firmware, kernel and set-up printed. */
  async consoleText(): Promise<string> {
    return readFile(this.files.console, 'latin1').catch(() => '');
  }

  async #timesReady(): Promise<number> {
    return (await this.consoleText()).split(READY).length - 1;
  }

  async #setUp(before: number): Promise<void> {
    await until(`${this.name} to start; its console is ${this.files.console}`, BOOT_SECONDS, async () => {
      if (!this.running) throw new Error(`${this.name} stopped:\n${await this.#lastWords()}`);
      return (await this.#timesReady()) > before ? true : undefined;
    });
  }

  async #lastWords(): Promise<string> {
    const text = await this.consoleText();
    return [this.#qemu.tail(), ...text.trimEnd().split('\n').slice(-10)].join('\n');
  }
}

async function layer(below: string, file: string): Promise<void> {
  await must('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', below, file]);
}
