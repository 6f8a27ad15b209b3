import { until } from '@kallio/e2e/process';
import type { AttesterSummary } from '@kallio/protocol';
import { inject } from 'vitest';
import type { Machine } from '../../src/machine/machine.ts';
import type { Boot } from '../../src/machine/qemu.ts';
import { LabSite } from '../../src/site/site.ts';

/** What `kallio attesters show` prints of an attester, with the claims that wait beside it. */
type Shown = AttesterSummary & { readonly waiting?: readonly AttesterSummary[] };

/** The device that the scenarios attack, and what the server says of it. */
export class Device {
  readonly site: LabSite;
  readonly machine: Machine;

  private constructor(site: LabSite, machine: Machine) {
    this.site = site;
    this.machine = machine;
  }

  static async open(): Promise<Device> {
    const site = await LabSite.open(inject('lab'));
    return new Device(site, site.machine('cabinet-1'));
  }

  /** `kallio attesters show`. */
  async shown(): Promise<Shown> {
    return (await this.site.run('attesters', 'show', this.machine.name)) as Shown;
  }

  /** Shuts it down and starts it with something else; waits until the server has judged that boot. */
  async bootWith(change: Partial<Boot>): Promise<Shown> {
    const { boot } = await this.shown();
    await this.machine.powerOff();
    await this.machine.start(change);
    return this.judged((shown) => shown.boot !== boot);
  }

  /** As it was installed. */
  bootHonestly(): Promise<Shown> {
    return this.bootWith({});
  }

  /** Waits until what the server shows is what is waited for. */
  judged(wanted: (shown: Shown) => boolean): Promise<Shown> {
    return until(`the server’s verdict on ${this.machine.name}`, 300, async () => {
      const shown = await this.shown();
      return wanted(shown) ? shown : undefined;
    });
  }
}

/** State and codes of a verdict, each code once. */
export function verdict({ state, tier, reasons }: Shown) {
  return { state, tier, codes: [...new Set(reasons.map(({ code }) => code))].sort() };
}

export const VERIFIED = { state: 'VERIFIED', tier: 'B', codes: [] };
