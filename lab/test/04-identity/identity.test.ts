import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '@kallio/e2e/process';
import { beforeAll, describe, expect, it } from 'vitest';
import { Device, VERIFIED, verdict } from '../support/device.ts';

describe('a machine’s TPM', () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open();
  });

  it('can’t be swapped for another machine’s: neither with this disk nor with a state that was begun anew', async () => {
    const before = await device.shown();
    const { machine, site } = device;
    const own = join(site.dir, 'own-tpm');
    await machine.powerOff();
    await rename(machine.files.tpmState, own);
    await site.makeTpm('thief');
    await rename(site.tpmOf('thief'), machine.files.tpmState);

    // The same disk with another TPM, which is also what a cloned disk is: the keys on it open in the first TPM only.
    await machine.start();
    await until('the agent to refuse', 180, async () => {
      const log = await machine.must('cat /var/log/kallio-agent.log');
      return log.includes('IDENTITY_OTHER_TPM') ? true : undefined;
    });
    expect((await device.shown()).boot).toBe(before.boot);

    // With a state begun anew it claims a name that is taken: held for the operator, and the first one keeps it.
    await machine.must('mkdir /root/kept && cd /var/lib/kallio && mv keys.json enrolment.json /root/kept');
    const held = await device.judged(({ waiting = [] }) => waiting.length > 0);
    expect(held.waiting?.map(({ admission, reasons }) => [admission, reasons[0]?.code])).toEqual([
      ['held', 'ENROL_ATTESTER_TAKEN'],
    ]);
    expect(await device.shown()).toMatchObject({ ek: before.ek, ak: before.ak, boot: before.boot });

    await machine.must('mv /root/kept/* /var/lib/kallio/');
    await machine.powerOff();
    await rename(machine.files.tpmState, join(site.dir, 'thief-tpm'));
    await rename(own, machine.files.tpmState);
    await machine.start();
    expect(verdict(await device.judged(({ boot }) => boot !== before.boot))).toEqual(VERIFIED);
  });
});
