import { appendFile, copyFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest, parseReference, publishReferrer, Repository, walkImage } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE, bundleArtifact, MAX_BUNDLE } from '@kallio/signature';
import type { Machine } from '../site/machine.ts';
import { must, until } from '../site/process.ts';
import type { Site } from '../site/site.ts';
import { onboard, type Running, seenOn, start } from './job.ts';
import type { Recorder, Refusal } from './record.ts';

/** The five attacks, each on the running site. */
export async function attacks(site: Site, recorder: Recorder, running: Running): Promise<void> {
  const evil = `${site.registry}/sensor-gateway-evil:1`;
  await recorder.attack('an image built outside a session', ['IMAGE_UNSIGNED'], () =>
    imageOutsideSession(site, evil),
  );
  await recorder.attack('a signature moved to another image', ['SIGNATURE_SUBJECT_MISMATCH'], () =>
    movedSignature(site, running.image, evil),
  );
  await recorder.attack('a build host rebooted between the session’s quotes', ['SESSION_REBOOTED'], () =>
    rebootDuringBuild(site),
  );
  const device = site.devices.find(({ name }) => name === running.device);
  if (device === undefined) throw new Error(`There is no device ${running.device}.`);
  await recorder.attack('a container started behind the agent’s back', ['INSTANCE_UNLOGGED'], () =>
    behindTheAgent(site, device, running),
  );
  await recorder.attack('a layer file edited after verification', ['INSTANCE_FILE_CHANGED'], () =>
    editedLayer(site, device),
  );
}

/** Somebody with push rights builds and pushes by hand, and asks for it to be run. */
async function imageOutsideSession(site: Site, image: string): Promise<Refusal | undefined> {
  const context = await site.applicationContext('evil');
  await appendFile(join(context, 'rootfs/srv/www/index.html'), '<!-- and a back door -->\n');
  const storage = ['--root', join(site.dir, 'evil-storage'), '--runroot', join(site.dir, 'evil-run')];
  await must('buildah', [...storage, 'bud', '--isolation', 'chroot', '--tag', 'evil', context]);
  await must('buildah', [...storage, 'push', '--quiet', '--tls-verify=false', 'evil', `docker://${image}`]);
  return onboardingRefusal(site, 'evil-unsigned', image);
}

/** The good image's signature, attached to the evil one as if it were its own. */
async function movedSignature(site: Site, good: string, evil: string): Promise<Refusal | undefined> {
  const from = repositoryOf(good);
  const to = repositoryOf(evil);
  const signed = await walkImage(from.source, from.tag);
  const [candidate] = await from.source.referrers(signed.manifest.digest, BUNDLE_MEDIA_TYPE);
  if (candidate === undefined) throw new Error('The good image has no signature to move.');
  const { bytes, mediaType } = await from.source.manifest(candidate.digest);
  const referrer = parseManifest(bytes, mediaType);
  const [blob] = referrer.kind === 'manifest' ? referrer.layers : [];
  if (blob === undefined) throw new Error('The good image’s signature can’t be read.');
  const target = await walkImage(to.source, to.tag);
  await publishReferrer(to.source, target.manifest, bundleArtifact(await from.source.blob(blob, MAX_BUNDLE)));
  return onboardingRefusal(site, 'evil-moved', evil);
}

/** The build host is restarted while it builds: whatever ran in between left no trace in the closing quote. */
async function rebootDuringBuild(site: Site): Promise<Refusal | undefined> {
  const context = await site.applicationContext('rebooted');
  const began = join(site.dir, 'build-began');
  const mayGoOn = join(site.dir, 'build-may-go-on');
  const buildah = `buildah --root ${site.dir}/rebooted-storage --runroot ${site.dir}/rebooted-run`;
  // The builder is buildah, paused for as long as the restart takes.
  const script = [
    `touch ${began}`,
    `until [ -e ${mayGoOn} ]; do sleep 0.1; done`,
    `${buildah} bud --isolation chroot --tag again "$1"`,
    `${buildah} push --quiet again "oci:$OUT:image"`,
  ].join(' && ');
  const image = `${site.registry}/sensor-gateway:rebooted`;
  const build = site.try(
    ...['build', '-t', image, context, '--agent', site.builder.socket, '--builder', script],
  );
  await until('the build to begin', 20, () => exists(began));
  await site.builder.reboot();
  await writeFile(mayGoOn, '');
  const { error } = await build;
  return error === undefined ? undefined : { by: 'attestation server', ...error };
}

/** Somebody with root on the device starts a container with the engine and the runtime, past agent and shim. */
async function behindTheAgent(
  site: Site,
  device: Machine,
  { image, digest }: Running,
): Promise<Refusal | undefined> {
  const { registry, repository } = parseReference(image);
  const container = await device.podman(
    ...['--runtime', '/usr/bin/runc', 'run', '--detach', '--network', 'none', '--pull', 'never'],
    ...['--entrypoint', '/bin/sleep', `${registry}/${repository}@${digest}`, '600'],
  );
  try {
    const seen = await until('the device’s next evidence', 30, async () => {
      await site.run('attesters', 'attest', device.name);
      return (await seenOn(site, device.name)).find(({ state }) => state === 'UNLOGGED');
    });
    const [reason] = seen.reasons;
    return reason === undefined
      ? undefined
      : { by: 'attestation server', code: reason.code, message: reason.message };
  } finally {
    await device.podman('rm', '--force', '--time', '0', container.trim());
  }
}

/** Somebody with root on the device edits a file of the unpacked image; the image's digest stays what it was. */
async function editedLayer(site: Site, device: Machine): Promise<Refusal | undefined> {
  await until('the device to be verified again', 30, async () => {
    const shown = (await site.run('attesters', 'show', device.name)) as { state: string };
    return shown.state === 'VERIFIED' ? shown : undefined;
  });
  const file = await findInLayers(device, 'srv/www/cgi-bin/readings');
  const original = join(site.dir, 'original');
  await copyFile(file, original);
  try {
    await appendFile(file, '# and what the attacker wants\n');
    const { operation, instance } = await start(site, '--device', device.name);
    const { error } = operation;
    return error === undefined
      ? undefined
      : { by: `device ${instance.kallio?.device ?? device.name}`, code: error.code, message: error.message };
  } finally {
    await copyFile(original, file);
  }
}

async function onboardingRefusal(
  site: Site,
  application: string,
  image: string,
): Promise<Refusal | undefined> {
  const refusal = (await onboard(site, application, image)).kallio?.refusal;
  return refusal === undefined
    ? undefined
    : { by: 'orchestrator', code: refusal.code, message: refusal.message };
}

/** A file of an unpacked image in the engine's storage: `overlay/LAYER/diff/…`. */
async function findInLayers({ storage }: Machine, path: string): Promise<string> {
  const overlay = join(storage.root, 'overlay');
  for (const layer of await readdir(overlay)) {
    const file = join(overlay, layer, 'diff', path);
    if ((await exists(file)) === true) return file;
  }
  throw new Error(`No layer below ${overlay} holds ${path}.`);
}

function repositoryOf(image: string): { readonly source: Repository; readonly tag: string } {
  const reference = parseReference(image);
  return { source: new Repository(reference), tag: reference.tag ?? 'latest' };
}

async function exists(path: string): Promise<true | undefined> {
  return stat(path).then(
    () => true,
    () => undefined,
  );
}
