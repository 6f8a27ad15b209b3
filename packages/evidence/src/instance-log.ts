import { canonicalBytes, concat, fromHex, sha256, utf8 } from '@kallio/codec';
import { evidenceError } from './error.ts';
import type { InstanceEntry, InstanceEvent } from './message.ts';
import { extend } from './pcr.ts';

const LABEL = concat(utf8('kallio-instance-v1'), new Uint8Array(1));

/**
 * What PCR 14 is extended with for an entry: SHA-256("kallio-instance-v1" || 0x00 || salt || JCS({event, seq})). The
 * salt keeps whoever sees only commitments from guessing the event; the sequence number keeps an entry in its place.
 */
export function instanceCommitment(entry: InstanceEntry): Uint8Array {
  const { seq, salt, event } = entry;
  return sha256(LABEL, fromHex(salt, 32), canonicalBytes({ seq, event }));
}

/**
 * PCR 14 (SHA-256 bank) after these entries, from `start`: 32 zero bytes at boot, or what an earlier replay ended in.
 * `from` is the place of the first entry. Every entry must stand in its place, or it is `INSTANCE_LOG_GAP`.
 */
export function replayInstanceLog(
  start: Uint8Array,
  entries: readonly InstanceEntry[],
  from = 0,
): Uint8Array {
  let value = start;
  for (const [index, entry] of entries.entries()) {
    // Stops an entry that is left out, doubled or moved: the commitment covers `seq`, and here it must be in order.
    if (entry.seq !== from + index) {
      throw evidenceError(
        'INSTANCE_LOG_GAP',
        `Entry ${from + index} of the instance log says that it is entry ${entry.seq}.`,
        { pointer: `/instanceLog/entries/${index}/seq` },
      );
    }
    value = extend('sha256', value, instanceCommitment(entry));
  }
  return value;
}

/** Where a container stands by the instance log. */
export type ContainerPhase = 'created' | 'running' | 'paused' | 'stopping';

/** A container that the instance log has begun and not deleted. */
export interface LoggedContainer {
  readonly container: string;
  /** The orchestrator's name for it, or the container id. */
  readonly instance: string;
  /** Manifest digest of the image it was created from. */
  readonly image: string;
  /** SHA-256 of its config.json. */
  readonly config?: string;
  readonly phase: ContainerPhase;
  /**
   * True once an event named another image or instance than the one it was created as, or came before its creation.
   * Only its deletion ends that.
   */
  readonly inconsistent: boolean;
}

/**
 * The containers that exist by the instance log, by container id, after `entries`. `before` is what an earlier call
 * came to, when the log goes on from there.
 */
export function runningInstances(
  entries: readonly InstanceEntry[],
  before: ReadonlyMap<string, LoggedContainer> = new Map(),
): Map<string, LoggedContainer> {
  const containers = new Map(before);
  for (const { event } of entries) {
    const next = after(containers.get(event.container), event);
    if (next === undefined) containers.delete(event.container);
    else containers.set(event.container, next);
  }
  return containers;
}

function after(known: LoggedContainer | undefined, event: InstanceEvent): LoggedContainer | undefined {
  const { verb, container, instance, image } = event;
  if (verb === 'delete') return undefined;
  if (verb === 'create' || verb === 'restore') {
    const config = event.config === undefined ? {} : { config: event.config };
    const phase = verb === 'create' ? 'created' : 'running';
    // Stops a second creation from giving a container that still runs another image's name, or a clean record.
    const inconsistent = known !== undefined && contradicts(known, event);
    return { container, instance, image, ...config, phase, inconsistent };
  }
  // An exec into a container that was never created, or one that claims another image, is a log that contradicts itself.
  const base = known ?? { container, instance, image, phase: 'running' as const, inconsistent: true };
  return { ...base, inconsistent: contradicts(base, event), phase: phaseAfter(base.phase, verb) };
}

function contradicts(known: LoggedContainer, { image, instance }: InstanceEvent): boolean {
  return known.inconsistent || known.image !== image || known.instance !== instance;
}

function phaseAfter(
  phase: ContainerPhase,
  verb: Exclude<InstanceEvent['verb'], 'delete' | 'create' | 'restore'>,
): ContainerPhase {
  switch (verb) {
    case 'start':
    case 'resume':
      return 'running';
    case 'pause':
      return 'paused';
    case 'kill':
    case 'checkpoint':
      return 'stopping';
    case 'exec':
    case 'update':
      return phase;
  }
}
