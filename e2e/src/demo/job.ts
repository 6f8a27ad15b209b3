import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppInstanceInfo, AppLcmOpOcc, AppPkgInfo, AttesterSummary } from '@kallio/protocol';
import type { Outcome } from '../site/kallio.ts';
import { until } from '../site/process.ts';
import type { Site } from '../site/site.ts';
import type { Recorder } from './record.ts';

/** The sample application: its name in the registry, and its appDId. */
const APPLICATION = 'sensor-gateway';

/** Where the main job is done: on processes of one machine, or on machines of their own. */
export interface JobSite {
  /** For the files that the job writes. */
  readonly dir: string;
  /** `host:port` of the registry. */
  readonly registry: string;
  readonly imagePolicy: string;
  /** The sample application's descriptor. */
  readonly appDescriptor: string;
  /** A `kallio` command as the operator; how it ended. */
  try(...args: string[]): Promise<Outcome>;
  /** A `kallio` command as the operator, which must succeed. */
  run(...args: string[]): Promise<unknown>;
  /** Builds the sample application on the build host under this name; gives what `kallio build` printed, parsed. */
  build(image: string): Promise<unknown>;
  /** Asks an instance over HTTP, from where it can be reached: GET, or POST where there is a body. */
  ask(
    running: Running,
    path: string,
    body?: string,
  ): Promise<{ readonly status: number; readonly text: string }>;
}

/** What is read of a build's record. */
interface Built {
  readonly digest: string;
  readonly builder: string;
  readonly session: string;
  readonly logIndex: number;
}

/** What the main job left, for the attacks to work on. */
export interface Running {
  /** `registry/repository:tag`. */
  readonly image: string;
  /** `sha256:…` of its manifest. */
  readonly digest: string;
  readonly instance: string;
  readonly device: string;
  /** Where it answers: `http://host:port`. */
  readonly address: string;
}

/** The parts of the site: registry, TPMs, server, three enrolled machines. */
export async function setUp(site: Site, recorder: Recorder): Promise<void> {
  await recorder.step('registry, TPMs, server', async () => {
    await Promise.all([site.startRegistry(), site.makeTpms(), site.startServer()]);
    return {
      value: undefined,
      proof: `registry at ${site.registry}, three software TPMs with EK certificates, server at ${site.serverUrl}`,
    };
  });
  await recorder.step('enrol a build host and two devices', async () => {
    await Promise.all(site.machines.map((machine, index) => site.startMachine(machine, index)));
    const attesters = await until('three verified attesters', 30, async () => {
      const { attesters: all } = (await site.run('attesters', 'list')) as { attesters: AttesterSummary[] };
      const good = all.filter(({ state }) => state === 'VERIFIED');
      return good.length === site.machines.length ? good : undefined;
    });
    const tiers = [...new Set(attesters.map(({ tier }) => tier ?? '-'))].join(', ');
    return {
      value: undefined,
      proof: `${attesters.map(({ attester }) => attester).join(', ')}: EK certificate, credential activation, quote VERIFIED, tier ${tiers}`,
    };
  });
}

/** The main job: attested build, signed and logged image, verified start, attested instance. */
export async function mainJob(site: JobSite, recorder: Recorder): Promise<Running> {
  const image = `${site.registry}/${APPLICATION}:1`;
  const built = await recorder.step('build in an attestation session, sign, log, push', async () => {
    const record = (await site.build(image)) as Built;
    return {
      value: record,
      proof: `session ${record.session} on ${record.builder} closed on ${short(record.digest)}; log entry ${record.logIndex}`,
    };
  });
  await recorder.step('verify the image', async () => {
    const verdict = (await site.run('verify', image, '--policy', site.imagePolicy)) as {
      steps: { step: string }[];
    };
    return { value: verdict, proof: verdict.steps.map(({ step }) => step).join(' → ') };
  });
  await recorder.step('onboard the application package', async () => {
    const onboarded = await onboard(site, APPLICATION, image);
    if (onboarded.operationalState !== 'ENABLED') throw refused(onboarded.kallio?.refusal);
    return {
      value: onboarded,
      proof: `${onboarded.onboardingState}, ${onboarded.operationalState}; built by ${onboarded.kallio?.builder}`,
    };
  });
  const running = await recorder.step('start an instance on a verified device', async () => {
    const { instance, operation } = await start(site);
    if (operation.operationState !== 'COMPLETED') throw refused(operation.error);
    const { device = '', address = '' } = instance.kallio ?? {};
    return {
      value: { image, digest: built.digest, instance: instance.id, device, address },
      proof: `${device} checked the image by itself and started it with podman and runc; grant ${operation.grantId}`,
    };
  });
  await recorder.step('ask the application', async () => {
    const path = '/cgi-bin/readings';
    for (const reading of ['20.0', '21.5']) {
      const posted = await site.ask(running, path, reading);
      if (posted.status !== 201) throw new Error(`The application answered ${posted.status}.`);
    }
    const { text } = await site.ask(running, path);
    if (!text.includes('"count":2')) throw new Error(`The application answered ${text}.`);
    return { value: text, proof: `${running.address}${path} answers ${text.trim()}` };
  });
  await recorder.step('the instance is attested', async () => {
    const state = await instanceState(site, running);
    if (state?.state !== 'VERIFIED') throw new Error(`The instance is ${state?.state ?? 'not to be seen'}.`);
    return {
      value: undefined,
      proof: `${running.instance} on ${running.device}: VERIFIED by the device’s quote over its instance log`,
    };
  });
  return running;
}

/** Onboards an image as an application, and waits for the verdict. */
export async function onboard(site: JobSite, application: string, image: string): Promise<AppPkgInfo> {
  const file = join(site.dir, `${application}.appd.json`);
  const sample = JSON.parse(await readFile(site.appDescriptor, 'utf8')) as Record<string, unknown>;
  const appd = {
    ...sample,
    appDId: application,
    appName: application,
    swImageDescriptor: { swImage: image },
  };
  await writeFile(file, JSON.stringify(appd, null, 2));
  return (await site.try('packages', 'create', file)).json as AppPkgInfo;
}

/** An instance that was to be started, and how that ended. */
export interface Started {
  readonly operation: AppLcmOpOcc;
  readonly instance: AppInstanceInfo;
}

/** Starts an instance, and waits until the operation has come to an end. */
export async function start(site: JobSite, ...flags: string[]): Promise<Started> {
  const outcome = await site.try('apps', 'start', APPLICATION, ...flags);
  if (outcome.error !== undefined) throw new Error(`${outcome.error.code}: ${outcome.error.message}`);
  return outcome.json as Started;
}

/** What a device's evidence says of an instance. */
export async function instanceState(
  site: JobSite,
  { device, instance }: Pick<Running, 'device' | 'instance'>,
): Promise<Seen | undefined> {
  return (await seenOn(site, device)).find((one) => one.instance === instance);
}

/** A container on a device, as its evidence shows it. */
export interface Seen {
  readonly device: string;
  readonly instance: string;
  readonly state: string;
  readonly reasons: readonly { readonly code: string; readonly message: string }[];
}

/** Everything that a device's evidence shows to be running there. */
export async function seenOn(site: JobSite, device: string): Promise<readonly Seen[]> {
  const { json } = await site.try('instances', '--device', device);
  return (json as { instances: Seen[] }).instances;
}

function refused(refusal: { readonly code: string; readonly message: string } | undefined): Error {
  return new Error(
    refusal === undefined ? 'Refused without a reason.' : `${refusal.code}: ${refusal.message}`,
  );
}

function short(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
