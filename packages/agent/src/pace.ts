import { setTimeout as wait } from 'node:timers/promises';

/** After something has changed, the next evidence comes this soon, then later and later until the usual interval. */
const SOON_MS = 2_000;

/**
 * When evidence is shown next: an interval after the last time, sooner after a change, later when the server has no time,
 * and at once when it is asked for.
 */
export class Pace {
  readonly #intervalMs: number;
  #wake = new AbortController();
  #next: number;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
    this.#next = intervalMs;
  }

  /** Something has changed on this machine: show it now. */
  now(): void {
    this.#wake.abort();
  }

  /** Evidence was shown. `calm`: it was all well, and nothing was new in it. */
  shown(calm: boolean): void {
    this.#next = calm ? this.#intervalMs : Math.min(SOON_MS, this.#intervalMs);
  }

  /** Waits until the next evidence is due. */
  async pause(signal: AbortSignal): Promise<void> {
    // Jitter keeps a fleet that was powered on together from asking together.
    const ms = this.#next * (0.8 + Math.random() * 0.3);
    const either = AbortSignal.any([signal, this.#wake.signal]);
    await wait(ms, undefined, { signal: either }).catch(() => undefined);
    this.#wake = new AbortController();
    this.#next = Math.min(this.#next * 2, this.#intervalMs);
  }
}
