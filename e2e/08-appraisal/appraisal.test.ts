import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Boot, kernelDigest } from '../src/site/measuring/firmware.ts';
import { MeasuringSite } from '../src/site/measuring/site.ts';
import { until } from '../src/site/process.ts';

const BOOT: Boot = {
  kernel: 'linux 6.1.0-28',
  initrd: 'initrd of 6.1.0-28',
  commandLine: 'root=/dev/vda ro quiet',
};

let at: MeasuringSite;
beforeAll(async () => {
  at = await MeasuringSite.create(BOOT);
  for (const tool of ['buildah', 'runc', 'tar']) await at.machine.kernel.execute(`/usr/bin/${tool}`, tool);
});
afterAll(() => at.destroy());

/** Starts the machine with something else, until the test is over. */
async function startedWith(change: Partial<Boot>, work: () => Promise<void>): Promise<void> {
  at.machine.boot = { ...BOOT, ...change };
  await at.machine.reboot();
  try {
    await work();
  } finally {
    at.machine.boot = BOOT;
    await at.machine.reboot();
  }
}

/** The result is made again from its bytes, and what the refusal points to is shown. */
async function explains(result: string | undefined, code: string, what: string): Promise<void> {
  const explained = (await at.site.run('explain', result ?? '')) as {
    rederived: string;
    platform: { refusals: { code: string; shows: string[] }[] };
  };
  expect(explained.rederived).toBe('same');
  const refusal = explained.platform.refusals.find((one) => one.code === code);
  expect(refusal?.shows.join('\n')).toContain(what);
}

describe('1. a machine of which nothing is known', () => {
  it('is UNKNOWN, whatever it shows', async () => {
    const shown = await at.shownAs('UNKNOWN');
    expect(shown.reasons.map(({ code }) => code)).toContain('PCR_UNEXPLAINED');
  });
});

describe('2. a machine from which its operator learns', () => {
  it('is VERIFIED by what was learned', async () => {
    await at.writePolicy(await at.site.run('policy', 'show', '--kind', 'builder'));
    await at.site.run(
      ...['reference', 'learn', at.machine.name, '--into', at.policyFile, '--id', 'learned-1'],
    );
    await at.putInForce();
    const shown = await at.shownAs('VERIFIED');
    expect(shown.reasons).toEqual([]);
  });
});

describe('3. an unknown program', () => {
  it('is named by its path and its place in the list; a reboot ends what it did', async () => {
    await at.machine.kernel.execute('/usr/local/bin/miner', 'digs');
    const shown = await at.shownAs('VIOLATED');
    const [reason] = shown.reasons;
    expect(reason).toMatchObject({ code: 'IMA_FILE_UNKNOWN', pointer: 'ima:4' });
    expect(reason?.message).toContain('/usr/local/bin/miner');
    await explains(shown.result, 'IMA_FILE_UNKNOWN', '/usr/local/bin/miner');
    await at.machine.reboot();
    await at.shownAs('VERIFIED', shown.result);
  });
});

describe('4. a changed kernel command line', () => {
  it('is named by its event', async () => {
    await startedWith({ commandLine: 'root=/dev/vda rw init=/bin/sh' }, async () => {
      const shown = await at.shownAs('VIOLATED');
      expect(shown.reasons).toContainEqual(
        expect.objectContaining({ code: 'EVENT_UNKNOWN', pointer: expect.stringMatching(/^event:\d+$/) }),
      );
      await explains(shown.result, 'EVENT_UNKNOWN', 'LOADED_IMAGE::LoadOptions');
    });
    await at.shownAs('VERIFIED');
  });
});

describe('5. an update of the kernel', () => {
  const next = 'linux 6.1.0-29';

  it('that nobody announced is refused', async () => {
    await startedWith({ kernel: next }, async () => {
      const shown = await at.shownAs('VIOLATED');
      expect(shown.reasons).toContainEqual(expect.objectContaining({ code: 'EVENT_UNKNOWN' }));
    });
  });

  it('that was announced is VERIFIED after the reboot, and so is going back', async () => {
    const policy = (await at.site.run('policy', 'show', '--kind', 'builder')) as object;
    // What an EFI application is for, the firmware does not say: learnt values are of the class boot-loader.
    const kernel = { name: next, digest: kernelDigest(next) };
    const reference = { boot: [{ pcr: 4, class: 'boot-loader', values: [kernel] }] };
    await at.writePolicy({ ...policy, id: 'learned-2', updates: [{ id: next, boots: 3, reference }] });
    await at.putInForce();
    const before = await at.shownAs('VERIFIED');
    await startedWith({ kernel: next }, async () => {
      await at.shownAs('VERIFIED', before.result);
    });
    expect((await at.shownAs('VERIFIED')).boot).toBe((before.boot ?? 0) + 2);
  });
});

describe('6. an agent that goes quiet', () => {
  it('leaves its machine STALE, and VERIFIED again when it is back', async () => {
    await at.setServer({ staleSeconds: 8 });
    await at.shownAs('VERIFIED');
    await at.machine.stopAgent('SIGKILL');
    const stale = await until('the machine to be STALE', 40, async () => {
      const shown = await at.shown();
      return shown.state === 'STALE' ? shown : undefined;
    });
    expect(stale.reasons).toContainEqual(expect.objectContaining({ code: 'RESULT_STALE' }));
    await at.machine.startAgent();
    await at.shownAs('VERIFIED', stale.result);
  });
});

describe('7. a server that is killed in the middle of a cycle', () => {
  it('goes on from what it had acknowledged', async () => {
    const { result } = await at.shownAs('VERIFIED');
    await at.machine.kernel.execute('/usr/bin/tar', 'tar');
    await at.site.try('attesters', 'attest', at.machine.name);
    await at.site.restartServer('SIGKILL');
    const shown = await at.shownAs('VERIFIED', result);
    expect(shown.reasons).toEqual([]);
  });
});
