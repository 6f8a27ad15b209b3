import { join } from 'node:path';
import { Machine } from '../machine.ts';
import type { Boot } from './firmware.ts';
import { MeasuringKernel } from './kernel.ts';
import { TpmBus } from './tpm-bus.ts';

/**
 * A machine whose boot and programs are measured, on a machine where they are not: firmware and kernel are played into
 * a software TPM, and the logs are files. The TPM, the agent, the server and every check are the real ones.
 */
export class MeasuringMachine extends Machine {
  /** What it starts with. */
  boot: Boot;
  readonly kernel: MeasuringKernel;
  #bus: TpmBus | undefined;

  constructor(name: string, kind: 'builder' | 'device', dir: string, boot: Boot) {
    super(name, kind, dir);
    this.boot = boot;
    this.kernel = new MeasuringKernel(dir, this.tpmAddress);
  }

  override get tpmAddress(): string {
    return `swtpm:unix:${this.#busPath}`;
  }

  override get measurements() {
    return this.kernel.paths;
  }

  override async powerOn(): Promise<void> {
    await super.powerOn();
    this.#bus = await TpmBus.open(this.#busPath, this.tpm.socket);
    await this.kernel.boot(this.boot);
  }

  override async powerOff(): Promise<void> {
    await this.stopAgent();
    await this.#bus?.close();
    this.#bus = undefined;
    await super.powerOff();
  }

  get #busPath(): string {
    return join(this.dir, 'tpm-bus.sock');
  }
}
