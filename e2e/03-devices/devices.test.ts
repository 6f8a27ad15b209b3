import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { instanceState, seenOn, start } from '../src/demo/job.ts';
import { kallio } from '../src/site/kallio.ts';
import type { Machine } from '../src/site/machine.ts';
import { type WorkingSite, workingSite } from '../src/site/main-job-site.ts';
import { run, until } from '../src/site/process.ts';

let { site, running }: WorkingSite = {} as WorkingSite;
let device: Machine;
beforeAll(async () => {
  ({ site, running } = await workingSite());
  device = site.devices.find(({ name }) => name === running.device) ?? site.devices[0];
});
afterAll(() => site.destroy());

/** podman with the device's own shim, called by somebody who is not the agent. */
function throughShim(...args: string[]) {
  const { root, runRoot } = device.storage;
  const shim = join(device.dir, 'state', 'runtime');
  return run('podman', ['--root', root, '--runroot', runRoot, '--runtime', shim, ...args], {
    env: { CONTAINERS_CONF: device.containersConf },
  });
}

describe('the runtime shim', () => {
  it('refuses a container that nobody ordered', async () => {
    const refused = await throughShim(
      ...['run', '--rm', '--network', 'none', `${site.registry}/sensor-gateway@${running.digest}`],
    );
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('INSTANCE_NOT_ORDERED');
    // The same image, ordered, runs: it is what this site is about.
    expect((await instanceState(site, running))?.state).toBe('VERIFIED');
  });

  it('refuses a shell in an attested instance', async () => {
    const refused = await throughShim('exec', `kallio-${running.instance}`, '/bin/sh', '-c', 'id');
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('INSTANCE_EXEC_FORBIDDEN');
  });

  it('starts nothing while the agent is away, and what runs goes on running', async () => {
    await device.stopAgent();
    try {
      const refused = await throughShim(
        ...['run', '--rm', '--network', 'none', `${site.registry}/sensor-gateway@${running.digest}`],
      );
      expect(refused.code).not.toBe(0);
      expect((await fetch(`${running.address}/cgi-bin/readings`)).status).toBe(200);
    } finally {
      await device.startAgent();
    }
  });
});

describe('an agent and a server', () => {
  it('that were killed come back, and lose nothing', async () => {
    await device.stopAgent('SIGKILL');
    await site.restartServer('SIGKILL');
    await device.startAgent();
    await until('the instance to be verified', 30, async () => {
      await site.try('attesters', 'attest', device.name);
      return (await instanceState(site, running))?.state === 'VERIFIED' ? true : undefined;
    });
    const { exit } = await site.try('verify', running.image, '--policy', site.imagePolicy);
    expect(exit).toBe(0);
  });
});

describe('an agent whose enrolment’s answer was lost', () => {
  it('is known again by its TPM, though its join token is used up', async () => {
    await device.stopAgent();
    await rm(join(device.dir, 'state/enrolment.json'));
    await device.startAgent();
    await until('the instance to be verified', 30, async () => {
      await site.try('attesters', 'attest', device.name);
      return (await instanceState(site, running))?.state === 'VERIFIED' ? true : undefined;
    });
  });
});

describe('an instance', () => {
  it('is still attested after its device’s agent and the server were started anew', async () => {
    await site.restartServer();
    await until('the instance to be verified', 30, async () => {
      await site.try('attesters', 'attest', device.name);
      return (await instanceState(site, running))?.state === 'VERIFIED' ? true : undefined;
    });
    const { json } = await site.try('apps', 'show', running.instance);
    expect(json).toMatchObject({ instantiationState: 'INSTANTIATED', kallio: { state: 'VERIFIED' } });
  });

  it('goes where the operator says, and is not placed on a device that is no device', async () => {
    const other = site.devices.find(({ name }) => name !== device.name) ?? site.devices[1];
    const { operation, instance } = await start(site, '--device', other.name);
    expect(operation).toMatchObject({ operationState: 'COMPLETED' });
    expect(instance.kallio?.device).toBe(other.name);
    const refused = await start(site, '--device', site.builder.name);
    expect(refused.operation).toMatchObject({
      operationState: 'FAILED',
      error: { code: 'NO_VERIFIED_DEVICE' },
    });
  });

  it('is stopped, and gone from the device’s evidence', async () => {
    const { instance } = await start(site);
    const where = instance.kallio?.device ?? '';
    expect((await seenOn(site, where)).map((one) => one.instance)).toContain(instance.id);
    const stopped = await site.try('apps', 'stop', instance.id);
    expect(stopped.exit).toBe(0);
    expect((await seenOn(site, where)).map((one) => one.instance)).not.toContain(instance.id);
  });
});

describe('a state folder', () => {
  it('that was copied to a machine with another TPM opens nothing there', async () => {
    const thief = site.devices.find(({ name }) => name !== device.name) ?? site.devices[1];
    await device.stopAgent();
    await thief.stopAgent();
    try {
      const config = JSON.parse(await readFile(device.configFile, 'utf8')) as Record<string, unknown>;
      const stolen = join(device.dir, 'stolen.json');
      await writeFile(stolen, JSON.stringify({ ...config, tpm: thief.tpm.address }));
      const refused = await kallio(['agent', 'run', '--config', stolen]);
      expect(refused.exit).toBe(1);
      expect(refused.error?.code).toBe('IDENTITY_OTHER_TPM');
    } finally {
      await thief.startAgent();
      await device.startAgent();
    }
  });
});
