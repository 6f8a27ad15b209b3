import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AppraisalPolicy, BootClass } from '@kallio/appraisal';
import { toHex } from '@kallio/codec';
import { mustKallio } from '@kallio/e2e/kallio';
import { digestOfBank, extend, parseEventLog, QUOTED_PCRS, zeroPcr } from '@kallio/evidence';
import { firmwareLog } from '../image/firmware.ts';
import type { Image } from '../image/image.ts';
import { kernelDigest } from '../image/kernel-digest.ts';
import type { KernelUpdate } from '../image/update.ts';
import type { Boot } from '../machine/qemu.ts';
import type { Say } from '../say.ts';

const KERNEL_PCR = 4;
/** The kernel's EFI stub measures what it was given: load options, and the initrd. */
const STUB_PCR = 9;
const SEPARATOR = createHash('sha256').update(Buffer.alloc(4)).digest();

const CLASSES: ReadonlyMap<number, BootClass> = new Map([
  [0, 'firmware'],
  [1, 'boot-configuration'],
  [4, 'action'],
  [5, 'action'],
  [7, 'secure-boot'],
]);

/**
 * The appraisal policy of the machines that boot an image: what the firmware measures was learned from a machine that
 * never was on a network; kernel, initrd and command line are worked out from the files; what IMA may measure was
 * scanned from the root file system. It is written to `file`, and the sets of digests beside it.
 */
export async function writePolicy(
  file: string,
  image: Image,
  kind: 'builder' | 'device',
  say: Say,
): Promise<void> {
  await writeFile(file, JSON.stringify(await bootPolicy(image, kind, say)));
  await mustKallio(['policy', 'merge', file, image.references, '--id', `lab-${image.flavour}-${kind}`]);
}

/**
 * The policy with an update announced: what its kernel, its initrd and its command line measure, and its modules. It is
 * written to `file`; the sets of digests go beside it.
 */
export async function announce(
  policy: AppraisalPolicy,
  update: KernelUpdate,
  { id, boots }: { readonly id: string; readonly boots: number },
  file: string,
): Promise<void> {
  const { reference } = JSON.parse(await readFile(update.references, 'utf8')) as {
    reference: AppraisalPolicy['reference'];
  };
  const ima = (reference.ima?.classes ?? []).map(({ name, digests, sets }) => ({
    class: name,
    ...(digests === undefined ? {} : { digests }),
    ...(sets === undefined ? {} : { sets }),
  }));
  const boot = (await bootValues(update, update.release, false)).map(({ required: _, ...values }) => values);
  const updates = [...(policy.updates ?? []), { id, boots, reference: { boot, ima } }];
  const announced: AppraisalPolicy = { ...policy, id: `${policy.id}/${updates.length}`, updates };
  await writeFile(file, JSON.stringify(announced));
  const sets = join(dirname(update.references), 'sets');
  if (existsSync(sets)) await cp(sets, join(dirname(file), 'sets'), { recursive: true });
}

async function bootPolicy(image: Image, kind: 'builder' | 'device', say: Say): Promise<AppraisalPolicy> {
  const log = parseEventLog(await firmwareLog(image, say));
  const learned = new Map<number, Set<string>>();
  for (const { authenticated } of log.events) {
    const digest = toHex(digestOfBank(authenticated, 'sha256'));
    if (authenticated.pcr === STUB_PCR || digest === toHex(SEPARATOR)) continue;
    const known = learned.get(authenticated.pcr) ?? new Set();
    learned.set(authenticated.pcr, known.add(digest));
  }
  // The kernel's event is the first of its PCR: it is none of the firmware's own.
  const [started] = learned.get(KERNEL_PCR) ?? [];
  if (started !== undefined) learned.get(KERNEL_PCR)?.delete(started);
  const empty = toHex(zeroPcr('sha256'));
  const separated = toHex(extend('sha256', zeroPcr('sha256'), SEPARATOR));
  const boot = [...learned].flatMap(([pcr, digests]) => {
    const what = CLASSES.get(pcr);
    if (what === undefined || digests.size === 0) return [];
    return [{ pcr, class: what, values: [...digests].map((digest) => ({ name: `OVMF: ${what}`, digest })) }];
  });
  return {
    policy: 'kallio-policy-v1',
    id: `lab-${image.flavour}-${kind}`,
    kind,
    bank: 'sha256',
    pcrs: [...QUOTED_PCRS],
    reference: {
      pcrs: {
        ...Object.fromEntries([2, 3, 6].map((pcr) => [String(pcr), [separated]])),
        ...Object.fromEntries([8, 11, 12, 13, 15].map((pcr) => [String(pcr), [empty]])),
      },
      ima: { classes: await programsElsewhere(image, kind) },
      boot: [...boot, ...(await bootValues(image, image.release, image.flavour === 'verity'))],
    },
    tiers: [image.flavour === 'verity' ? 'A' : 'B'],
  };
}

/**
 * Programs of the root file system that are executed under another name than their own: runc and buildah from copies in
 * memory, and on a build host the one program that the sample application's build runs, where buildah mounts it.
 */
async function programsElsewhere({ root }: Image, kind: 'builder' | 'device') {
  const digest = (path: string) => digestOfFile(join(root, path));
  const copies = [
    'memfd:runc_cloned:/proc/self/exe',
    'memfd:buildah-chroot-runtime',
    'memfd:buildah-chroot-exec',
  ];
  const inMemory = {
    name: 'programs copied to memory',
    paths: copies,
    digests: [await digest('usr/sbin/runc'), await digest('usr/bin/buildah')],
  };
  const inBuilds = {
    name: 'programs of builds',
    paths: ['/var/tmp/'],
    digests: [await digest('bin/busybox')],
  };
  return kind === 'builder' ? [inMemory, inBuilds] : [inMemory];
}

/** Reference values of one kernel with its initrd and command line. */
async function bootValues(
  { kernel, initrd, commandLine }: Boot,
  release: string,
  verifiedRoot: boolean,
): Promise<NonNullable<AppraisalPolicy['reference']['boot']>> {
  const name = `linux ${release}`;
  return [
    {
      pcr: KERNEL_PCR,
      class: 'kernel',
      values: [{ name, digest: await kernelDigest(kernel, initrd) }],
      required: true,
    },
    {
      pcr: STUB_PCR,
      class: 'command-line',
      values: [
        {
          name,
          // The firmware's file system of QEMU's kernel adds the last word.
          text: `${commandLine} initrd=initrd`,
          encoding: 'utf-16le-nul',
          ...(verifiedRoot ? { verifiedRoot } : {}),
        },
      ],
      required: true,
    },
    {
      pcr: STUB_PCR,
      class: 'initrd',
      values: [{ name: `initrd for ${name}`, digest: await digestOfFile(initrd) }],
      required: true,
    },
  ];
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
