import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseReference, Repository, walkImage } from '@kallio/oci';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onboard } from '../src/demo/job.ts';
import type { Outcome } from '../src/site/kallio.ts';
import { type WorkingSite, workingSite } from '../src/site/main-job-site.ts';
import { until } from '../src/site/process.ts';

let { site, running }: WorkingSite = {} as WorkingSite;
beforeAll(async () => {
  ({ site, running } = await workingSite());
});
afterAll(() => site.destroy());

/** Builds with a builder that pauses between the session's quotes, and does `meanwhile` there. */
async function buildWhile(
  name: string,
  meanwhile: () => Promise<void>,
  ...flags: string[]
): Promise<Outcome> {
  const [began, mayGoOn] = [join(site.dir, `${name}-began`), join(site.dir, `${name}-may-go-on`)];
  const buildah = `buildah --root ${site.dir}/${name}-storage --runroot ${site.dir}/${name}-run`;
  const script = [
    `touch ${began}`,
    `until [ -e ${mayGoOn} ]; do sleep 0.1; done`,
    `${buildah} bud --isolation chroot --tag x "$1"`,
    `${buildah} push --quiet x "oci:$OUT:image"`,
  ].join(' && ');
  const context = await site.applicationContext(name);
  const tag = `${site.registry}/sensor-gateway:${name}`;
  const build = site.try(
    'build',
    '-t',
    tag,
    context,
    '--agent',
    site.builder.socket,
    '--builder',
    script,
    ...flags,
  );
  await until('the build to begin', 20, async () => (await exists(began)) || undefined);
  await meanwhile();
  await writeFile(mayGoOn, '');
  return build;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

describe('a build session', () => {
  it('survives a restart of the agent, and of the server', async () => {
    const outcome = await buildWhile(
      'restarted',
      async () => {
        await until('evidence in between', 30, async () => {
          const { sessions } = (await site.run('sessions', 'list')) as { sessions: { evidence: string[] }[] };
          return (sessions[0]?.evidence.length ?? 0) >= 2 || undefined;
        });
        await site.builder.stopAgent();
        await site.restartServer();
        await site.builder.startAgent();
      },
      ...['--attest-every', '1'],
    );
    expect(outcome.error).toBeUndefined();
    // With evidence in between, some of it from before: agent and server remember what was shown.
    const policy = join(site.dir, 'evidence-policy.json');
    const made = JSON.parse(await readFile(site.imagePolicy, 'utf8'));
    await writeFile(policy, JSON.stringify({ ...made, require: { evidence: 3 } }));
    const image = `${site.registry}/sensor-gateway:restarted`;
    expect((await site.try('verify', image, '--policy', policy, '--evidence')).exit).toBe(0);
  });

  it('does not survive a restart of the machine', async () => {
    const outcome = await buildWhile('rebooted', () => site.builder.reboot());
    expect(outcome.exit).toBe(1);
    expect(outcome.error?.code).toBe('SESSION_REBOOTED');
    // Nothing was pushed that is not signed.
    const gone = await site.try(
      ...['verify', `${site.registry}/sensor-gateway:rebooted`, '--policy', site.imagePolicy],
    );
    expect(gone.json).toMatchObject({ ok: false, refusal: { code: 'OCI_NOT_FOUND' } });
  });

  it('is given up when the builder fails', async () => {
    const context = await site.applicationContext('broken');
    const outcome = await site.try(
      ...['build', '-t', `${site.registry}/sensor-gateway:broken`, context],
      ...['--agent', site.builder.socket, '--builder', 'exit 3'],
    );
    expect(outcome.error?.code).toBe('CLI_BUILDER');
    const { sessions } = (await site.run('sessions', 'list')) as {
      sessions: { state: string; reason?: { code: string } }[];
    };
    expect(sessions[0]).toMatchObject({ state: 'failed', reason: { code: 'SESSION_ABANDONED' } });
  });

  it('is not had from a device', async () => {
    const [device] = site.devices;
    const context = await site.applicationContext('from-a-device');
    const outcome = await site.try(
      ...['build', '-t', `${site.registry}/sensor-gateway:device`, context, '--agent', device.socket],
    );
    expect(outcome.error?.code).toBe('AGENT_KIND');
  });
});

describe('a tag', () => {
  it('that was moved after onboarding changes nothing: the digest runs', async () => {
    const repository = new Repository(parseReference(running.image));
    const original = await walkImage(repository, '1');
    const onboarded = await onboard(site, 'tag-moves', `${site.registry}/sensor-gateway:1`);
    expect(onboarded.operationalState).toBe('ENABLED');
    const other = await walkImage(repository, 'restarted');
    await repository.pushManifest(other.manifest.bytes, other.manifest.mediaType, '1');
    const { json } = await site.try('apps', 'start', 'tag-moves');
    expect(json).toMatchObject({
      operation: { operationState: 'COMPLETED' },
      instance: { kallio: { digest: original.manifest.digest } },
    });
    expect(other.manifest.digest).not.toBe(original.manifest.digest);
  });
});

describe('an image policy', () => {
  it('that names another builder refuses the image that this one accepts', async () => {
    const policy = JSON.parse(
      JSON.stringify(await site.run('policy', 'image', '--builder', 'build-2', '--tier', 'C')),
    ) as unknown;
    const file = join(site.dir, 'other-policy.json');
    await writeFile(file, JSON.stringify(policy));
    const image = `${site.registry}/sensor-gateway@${running.digest}`;
    const refused = await site.try('verify', image, '--policy', file);
    expect(refused).toMatchObject({ exit: 1, json: { ok: false, refusal: { code: 'POLICY_BUILDER' } } });
    expect((await site.try('verify', image, '--policy', site.imagePolicy)).exit).toBe(0);
  });

  it('that revokes an image keeps devices from starting it, from the next start on', async () => {
    const onboarded = await onboard(
      site,
      'revoked-later',
      `${site.registry}/sensor-gateway@${running.digest}`,
    );
    expect(onboarded.operationalState).toBe('ENABLED');
    const before = await readFile(site.imagePolicy, 'utf8');
    const start = async () => (await site.try('apps', 'start', 'revoked-later')).json;
    const revoked = [{ image: running.digest, reason: 'a hole in its shell' }];
    await writeFile(site.imagePolicy, JSON.stringify({ ...JSON.parse(before), revoked }));
    expect(await start()).toMatchObject({
      operation: { operationState: 'FAILED', error: { code: 'REVOKED_IMAGE' } },
    });
    await writeFile(site.imagePolicy, '{"policy": ');
    expect(await start()).toMatchObject({ operation: { operationState: 'FAILED' } });
    await writeFile(site.imagePolicy, before);
    expect(await start()).toMatchObject({ operation: { operationState: 'COMPLETED' } });
  });
});
