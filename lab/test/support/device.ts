import { until } from '@kallio/e2e/process';
import type { AttesterSummary } from '@kallio/protocol';
import { inject } from 'vitest';
import type { Machine } from '../../src/machine/machine.ts';
import type { Boot } from '../../src/machine/qemu.ts';
import { told } from '../../src/say.ts';
import { LabSite } from '../../src/site/site.ts';
import { say } from './say.ts';

/** An attester as the server sees it, with the other claims on its name. */
type Shown = AttesterSummary & { readonly waiting: readonly AttesterSummary[] };

/** What is read of `kallio explain`. */
interface Explained {
  readonly rederived: string;
  readonly platform: {
    readonly limits: readonly string[];
    readonly refusals: readonly { readonly code: string; readonly shows: readonly string[] }[];
  };
}

/** The device that the scenarios attack, and what the server says of it. */
export class Device {
  readonly site: LabSite;
  readonly machine: Machine;

  private constructor(site: LabSite, machine: Machine) {
    this.site = site;
    this.machine = machine;
  }

  static async open(name = 'cabinet-1'): Promise<Device> {
    const site = await LabSite.open(inject('lab'));
    return new Device(site, site.machine(name));
  }

  /** What the server says of it now. */
  async shown(): Promise<Shown> {
    const claims = (await this.site.attesters()).filter(({ attester }) => attester === this.machine.name);
    const admitted = claims.find(({ admission }) => admission === 'admitted');
    if (admitted === undefined) throw new Error(`${this.machine.name} is not admitted.`);
    return { ...admitted, waiting: claims.filter((claim) => claim !== admitted) };
  }

  /** Shuts it down and starts it with something else; waits until the server has judged that boot. */
  async bootWith(change: Partial<Boot>): Promise<Shown> {
    const { boot } = await this.shown();
    const { name } = this.machine;
    await told(say, `${name}: down and up again`, async () => {
      await this.machine.powerOff();
      await this.machine.start(change);
    });
    return told(say, `${name}: the verdict on this boot`, () => this.judged((shown) => shown.boot !== boot));
  }

  /** As it was installed. */
  bootHonestly(): Promise<Shown> {
    return this.bootWith({});
  }

  /** Asks it for evidence, and gives the verdict on that. */
  async evidence(): Promise<Shown> {
    const { result } = await this.shown();
    await this.site.run('attesters', 'attest', this.machine.name);
    return this.judged((now) => now.result !== result);
  }

  /** `kallio explain` of a verdict: made again from its bytes. */
  async explained({ result }: Shown): Promise<Explained> {
    return (await this.site.explain(result ?? '')) as Explained;
  }

  /** What a verdict says beside its reasons, in sentences. */
  async limits(shown: Shown): Promise<string> {
    return (await this.explained(shown)).platform.limits.join('\n');
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
export function verdict({ state, tier, reasons }: AttesterSummary) {
  return { state, tier, codes: [...new Set(reasons.map(({ code }) => code))].sort() };
}

export const VERIFIED = { state: 'VERIFIED', tier: 'B', codes: [] };
