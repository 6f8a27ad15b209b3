import { type Digest, isDigest, type Refusal } from '@kallio/codec';
import type { Inventory, LoggedContainer } from '@kallio/evidence';
import { type AppraisalCode, because, type State, verdictOf } from './codes.ts';

/** Reference values for instances of an image: its file manifest, SHA-256 (hexadecimal) by path. */
export interface ImageReference {
  readonly files: ReadonlyMap<string, string>;
}

/** What one instance came to. */
export interface InstanceAppraisal {
  readonly state: State;
  readonly refusals: readonly Refusal<AppraisalCode>[];
  readonly container: string;
  /** Manifest digest of its image; absent when it stands in no log. */
  readonly image?: Digest;
}

/** Where containers stand by the log, and by the kernel. */
export interface InstanceFacts {
  readonly containers: ReadonlyMap<string, LoggedContainer>;
  readonly inventory: Inventory;
  readonly images: (digest: Digest) => ImageReference | undefined;
}

type Observed = Inventory['containers'][number];

/**
 * Compares what the kernel shows with what the instance log says, and what runs in each container with the files of
 * its image. Keyed by instance name; what is in no log has only its container id.
 */
export function judgeInstances({
  containers,
  inventory,
  images,
}: InstanceFacts): Map<string, InstanceAppraisal> {
  const observed = new Map<string, Observed[]>();
  for (const one of inventory.containers) {
    observed.set(one.container, [...(observed.get(one.container) ?? []), one]);
  }
  const changed = new Map<string, string[]>();
  for (const { container, path } of inventory.changed) {
    changed.set(container, [...(changed.get(container) ?? []), path]);
  }

  const judged = new Map<string, InstanceAppraisal>();
  const add = (id: string, one: Omit<InstanceAppraisal, 'state'>) => {
    const same = judged.get(id);
    // Two containers under one name: neither may hide behind the other.
    const verdict = verdictOf([...(same?.refusals ?? []), ...one.refusals]);
    judged.set(id, { ...one, ...verdict });
  };
  for (const container of containers.values()) {
    const processes = observed.get(container.container);
    const image = isDigest(container.image) ? container.image : undefined;
    add(container.instance, {
      container: container.container,
      ...(image === undefined ? {} : { image }),
      refusals: [
        ...judgeLogged(container, processes !== undefined),
        ...judgeFiles(
          container.container,
          processes ?? [],
          changed.get(container.container) ?? [],
          image === undefined ? undefined : images(image),
        ),
      ],
    });
  }
  // Stops a container that was started behind the agent's back: the kernel shows it, the log does not.
  for (const container of new Set([...observed.keys(), ...changed.keys()])) {
    if (containers.has(container)) continue;
    add(container, {
      container,
      refusals: [
        because('INSTANCE_UNLOGGED', `The container ${container} runs and stands in no instance log.`, {
          pointer: `container:${container}`,
          hint: 'Somebody started it without the runtime shim. Stop it, and find out who.',
        }),
      ],
    });
  }
  return judged;
}

function judgeLogged(logged: LoggedContainer, runs: boolean): Refusal<AppraisalCode>[] {
  const pointer = `container:${logged.container}`;
  const refusals: Refusal<AppraisalCode>[] = [];
  // Stops a container from being entered under the name of an image it was not created from.
  if (logged.inconsistent) {
    refusals.push(
      because(
        'INSTANCE_LOG_INCONSISTENT',
        `The instance log names the container ${logged.container} before its creation, or with another image or instance.`,
        { pointer },
      ),
    );
  }
  // A container that is created only, or was told to stop, may run or not.
  if (!runs && (logged.phase === 'running' || logged.phase === 'paused')) {
    refusals.push(
      because(
        'INSTANCE_MISSING',
        `The container ${logged.container} runs by the instance log, but not by the kernel.`,
        {
          pointer,
        },
      ),
    );
  }
  return refusals;
}

function judgeFiles(
  container: string,
  observed: readonly Observed[],
  changed: readonly string[],
  image: ImageReference | undefined,
): Refusal<AppraisalCode>[] {
  const refusals = changed.map((path) =>
    because('INSTANCE_FILE_CHANGED', `The file ${path} is not what the signed image holds.`, {
      pointer: `container:${container} file:${path}`,
    }),
  );
  if (image === undefined) {
    refusals.push(
      because('IMAGE_REFERENCE_MISSING', 'There is no file manifest for the image of this instance.', {
        pointer: `container:${container}`,
        hint: 'The file manifest is brought by whoever signed the image, or started it.',
      }),
    );
    return refusals;
  }
  const digests = digestsOf(image);
  for (const { processes } of observed) {
    for (const { pid, executable, sha256 } of processes) {
      const pointer = `container:${container} pid:${pid} file:${executable}`;
      const reference = image.files.get(executable) ?? image.files.get(executable.replace(/^\//, ''));
      if (reference === sha256) continue;
      // Stops a file of the image that was edited after it was verified.
      if (reference !== undefined) {
        refusals.push(
          because('INSTANCE_FILE_CHANGED', `${executable} runs, and is not what the signed image holds.`, {
            pointer,
          }),
        );
        continue;
      }
      // The same bytes under another path (a copy, a link) are the image's bytes. Stops code from anywhere else.
      if (!digests.has(sha256)) {
        refusals.push(
          because(
            'INSTANCE_EXECUTABLE_UNKNOWN',
            `${executable} runs, and is no file of the signed image (SHA-256 ${sha256}).`,
            { pointer },
          ),
        );
      }
    }
  }
  return refusals;
}

const digestSets = new WeakMap<ImageReference, ReadonlySet<string>>();

/** SHA-256 digests of an image's files, hexadecimal. */
export function digestsOf(image: ImageReference): ReadonlySet<string> {
  let digests = digestSets.get(image);
  if (digests === undefined) {
    digests = new Set(image.files.values());
    digestSets.set(image, digests);
  }
  return digests;
}
