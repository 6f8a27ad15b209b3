import { join } from 'node:path';
import type { AgentConfig } from '@kallio/agent';
import { kallioCommand } from './kallio.ts';
import { accepts } from './ports.ts';
import { must, Service } from './process.ts';
import { SoftwareTpm } from './tpm.ts';

/** A machine of the site: a TPM and a trust agent of its own. */
export class Machine {
  readonly name: string;
  readonly kind: 'builder' | 'device';
  readonly dir: string;
  readonly tpm: SoftwareTpm;
  #agent: Service | undefined;

  constructor(name: string, kind: 'builder' | 'device', dir: string) {
    this.name = name;
    this.kind = kind;
    this.dir = dir;
    this.tpm = new SoftwareTpm(join(dir, 'tpm'), join(dir, 'swtpm.log'));
  }

  get socket(): string {
    return join(this.dir, 'agent.sock');
  }

  /** Where the agent reaches the TPM. */
  get tpmAddress(): string {
    return this.tpm.address;
  }

  /** Where the agent finds what firmware and kernel have measured to this TPM. */
  get measurements(): AgentConfig['measurements'] {
    return 'none';
  }

  get configFile(): string {
    return join(this.dir, 'agent.json');
  }

  /** Where podman keeps what runs on this device. */
  get storage(): { readonly root: string; readonly runRoot: string } {
    return { root: join(this.dir, 'storage'), runRoot: join(this.dir, 'run') };
  }

  get containersConf(): string {
    return join(this.dir, 'containers.conf');
  }

  async startAgent(): Promise<void> {
    const [command, args] = kallioCommand(['agent', 'run', '--config', this.configFile]);
    const ready = () => accepts(this.socket);
    this.#agent = await Service.start(this.name, join(this.dir, 'agent.log'), command, args, ready);
  }

  /** Ends the agent; with SIGKILL, in the middle of whatever it does. */
  async stopAgent(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#agent?.stop(signal);
    this.#agent = undefined;
  }

  async powerOn(): Promise<void> {
    await this.tpm.powerOn();
  }

  /** A reboot: the agent ends, the TPM loses power and starts again, the agent starts again. */
  async reboot(): Promise<void> {
    await this.powerOff();
    await this.powerOn();
    await this.startAgent();
  }

  /** The agent's process. */
  get agentPid(): number {
    if (this.#agent === undefined) throw new Error(`the agent of ${this.name} is not up`);
    return this.#agent.pid;
  }

  /** The last lines of the agent's log. */
  agentLog(lines?: number): string {
    return this.#agent?.tail(lines) ?? '';
  }

  /** podman on this device, as somebody with root there would call it: past the agent. */
  podman(...args: string[]): Promise<string> {
    const { root, runRoot } = this.storage;
    return must('podman', ['--root', root, '--runroot', runRoot, ...args], {
      env: { CONTAINERS_CONF: this.containersConf },
    });
  }

  async powerOff(): Promise<void> {
    await this.stopAgent();
    await this.tpm.powerOff();
  }
}
