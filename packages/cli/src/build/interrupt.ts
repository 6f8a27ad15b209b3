import { constants } from 'node:os';
import { KallioError } from '@kallio/codec';
import type { CliCode } from '../output/output.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A signal asked for the end. */
export class Interrupted extends KallioError<CliCode> {
  /** What a shell tells of a program that a signal ended: 128 and the signal's number. */
  readonly exit: number;

  constructor(signal: (typeof SIGNALS)[number]) {
    super('BUILD_INTERRUPTED', `${signal} ended the build.`, {
      hint: 'Its files were removed, its sessions given up or left to expire; docs/operations.md says what a registry or log may keep.',
    });
    this.exit = 128 + constants.signals[signal];
  }
}

/**
 * Work that a signal (SIGINT, SIGTERM, SIGHUP) calls off, from its first moment to its last: `stop` aborts with an
 * {@link Interrupted}, and whoever does the work puts away what it has made. A second signal changes nothing: to put away
 * takes a bounded time.
 */
export async function interruptible<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const end = (signal: NodeJS.Signals) => {
    const known = SIGNALS.find((one) => one === signal);
    if (known !== undefined) stop.abort(new Interrupted(known));
  };
  for (const signal of SIGNALS) process.on(signal, end);
  try {
    return await work(stop.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, end);
  }
}

/** What `work` gives, unless `stop` comes first: then it is waited for no longer, and what becomes of it is nobody's. */
export async function unlessStopped<T>(stop: AbortSignal, work: () => Promise<T>): Promise<T> {
  stop.throwIfAborted();
  const called = Promise.withResolvers<never>();
  const off = () => called.reject(stop.reason);
  stop.addEventListener('abort', off, { once: true });
  try {
    return await Promise.race([work(), called.promise]);
  } finally {
    stop.removeEventListener('abort', off);
  }
}
