import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttesterSummary } from '@kallio/protocol';
import { until } from '../process.ts';
import { Site } from '../site.ts';
import type { Boot } from './firmware.ts';
import { MeasuringMachine } from './machine.ts';

/** Nothing is known of any machine: whatever shows evidence is UNKNOWN. */
const EMPTY_POLICY = {
  policy: 'kallio-policy-v1',
  id: 'nothing-is-known',
  bank: 'sha256',
  pcrs: Array.from({ length: 16 }, (_, pcr) => pcr),
  reference: {},
  tiers: ['A', 'B', 'C'],
};

/** A server and one machine whose boot and programs are measured, with a policy that knows nothing of it yet. */
export class MeasuringSite {
  readonly site: Site;
  readonly machine: MeasuringMachine;

  private constructor(site: Site, machine: MeasuringMachine) {
    this.site = site;
    this.machine = machine;
  }

  static async create(boot: Boot): Promise<MeasuringSite> {
    const site = await Site.create();
    const machine = new MeasuringMachine('build-1', 'builder', join(site.dir, 'build-1'), boot);
    const made = new MeasuringSite(site, machine);
    try {
      await Promise.all([site.makeTpms([machine]), site.startServer({ builder: EMPTY_POLICY })]);
      await site.startMachine(machine, 0);
      return made;
    } catch (error) {
      await made.destroy();
      throw error;
    }
  }

  /** Where the policy that is worked on lies. */
  get policyFile(): string {
    return join(this.site.dir, 'policy.json');
  }

  async writePolicy(policy: unknown): Promise<void> {
    await writeFile(this.policyFile, JSON.stringify(policy));
  }

  /** Puts the policy that was worked on in force. */
  async putInForce(): Promise<void> {
    await this.site.run('policy', 'set', '--kind', 'builder', this.policyFile);
  }

  /** Starts the server anew with other settings of its section `attestation`. */
  async setServer(settings: Readonly<Record<string, number>>): Promise<void> {
    const file = join(this.site.dir, 'server', 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...config, attestation: { ...config.attestation, ...settings } }));
    await this.site.restartServer();
  }

  async shown(): Promise<AttesterSummary> {
    return (await this.site.run('attesters', 'show', this.machine.name)) as AttesterSummary;
  }

  /** Asks for evidence until the machine is shown in this state, with a result after `since`. */
  async shownAs(state: AttesterSummary['state'], since?: string): Promise<AttesterSummary> {
    let last: AttesterSummary | undefined;
    try {
      return await until(`${this.machine.name} to be ${state}`, 45, async () => {
        await this.site.try('attesters', 'attest', this.machine.name);
        last = await this.shown();
        return last.state === state && last.result !== since ? last : undefined;
      });
    } catch (cause) {
      throw new Error(`It is ${last?.state}: ${JSON.stringify(last?.reasons)}`, { cause });
    }
  }

  async destroy(): Promise<void> {
    await this.machine.powerOff();
    await this.site.destroy();
  }
}
