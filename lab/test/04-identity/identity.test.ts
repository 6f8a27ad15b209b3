import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '@kallio/e2e/process';
import type { AttesterSummary } from '@kallio/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { Device, VERIFIED, verdict } from '../support/device.ts';
import { say } from '../support/say.ts';

describe('a machine’s TPM', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
  });

  it('can’t be swapped for another machine’s: neither with this disk nor with a state that was begun anew', async () => {
    const before = await device.shown();
    const { machine, site } = device;
    const own = join(site.dir, 'own-tpm');
    await clearLog(device);
    await machine.powerOff();
    await rename(machine.files.tpmState, own);
    await site.makeTpm('thief');
    await rename(site.tpmOf('thief'), machine.files.tpmState);

    // The same disk with another TPM, which is also what a cloned disk is: the keys on it open in the first TPM only.
    await machine.start();
    await refusesOtherTpm(device);
    expect((await device.shown()).boot).toBe(before.boot);

    // With a state begun anew it claims a name that is taken: held for the operator, and the first one keeps it.
    await beginsAnew(device);
    await device.judged(({ waiting }) => waiting.some(isHeld));
    expect(await device.shown()).toMatchObject({ ek: before.ek, ak: before.ak, boot: before.boot });

    await machine.must('mv /root/kept/* /var/lib/kallio/');
    await machine.powerOff();
    await rename(machine.files.tpmState, join(site.dir, 'thief-tpm'));
    await rename(own, machine.files.tpmState);
    await machine.start();
    expect(verdict(await device.judged(({ boot }) => boot !== before.boot))).toEqual(VERIFIED);
  });

  it('can’t be swapped with one that is admitted itself: neither machine passes for the other or for itself', async () => {
    const other = await Device.open('cabinet-2');
    await other.site.startMachine(other.machine, say);
    await other.site.verified(say, [other.machine]);
    const both = [device, other];
    const before = await Promise.all(both.map((one) => one.shown()));
    for (const one of both) await clearLog(one);

    await Promise.all(both.map(({ machine }) => machine.powerOff()));
    await swapTpms(device, other);
    await Promise.all(both.map(({ machine }) => machine.start()));
    for (const one of both) await refusesOtherTpm(one);

    // Begun anew, each claims its own name with the TPM that is admitted under the other's.
    for (const one of both) await beginsAnew(one);
    for (const one of both) {
      await one.judged(({ waiting }) =>
        waiting.some((claim) => isHeld(claim) && before.some(({ ek }) => ek === claim.ek)),
      );
    }
    for (const [i, one] of both.entries()) {
      const { ek, ak, boot } = before[i] ?? {};
      expect(await one.shown()).toMatchObject({ ek, ak, boot });
      await one.machine.must('mv /root/kept/* /var/lib/kallio/');
    }

    await Promise.all(both.map(({ machine }) => machine.powerOff()));
    await swapTpms(device, other);
    await Promise.all(both.map(({ machine }) => machine.start()));
    for (const [i, one] of both.entries()) {
      expect(verdict(await one.judged(({ boot }) => boot !== before[i]?.boot))).toEqual(VERIFIED);
    }
    await other.machine.powerOff();
  });
});

/** The agent that finds another TPM than its keys were made in ends, and says why. */
async function refusesOtherTpm({ machine }: Device): Promise<void> {
  await until(`the agent of ${machine.name} to refuse`, 180, async () => {
    const log = await machine.must('cat /var/log/kallio-agent.log');
    return log.includes('IDENTITY_OTHER_TPM') ? true : undefined;
  });
}

async function clearLog({ machine }: Device): Promise<void> {
  await machine.must(': >/var/log/kallio-agent.log');
}

/** Takes what its agent has of its keys and its enrolment out of its way. */
async function beginsAnew({ machine }: Device): Promise<void> {
  await machine.must('mkdir -p /root/kept && cd /var/lib/kallio && mv keys.json enrolment.json /root/kept');
}

/** The claim of a name that another TPM is admitted under. */
function isHeld({ admission, reasons }: Pick<AttesterSummary, 'admission' | 'reasons'>): boolean {
  return admission === 'held' && reasons[0]?.code === 'ENROL_ATTESTER_TAKEN';
}

async function swapTpms({ machine: one, site }: Device, { machine: other }: Device): Promise<void> {
  const aside = join(site.dir, 'aside');
  await rename(one.files.tpmState, aside);
  await rename(other.files.tpmState, one.files.tpmState);
  await rename(aside, other.files.tpmState);
}
