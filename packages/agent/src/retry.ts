import { setTimeout as wait } from 'node:timers/promises';
import { KallioError } from '@kallio/codec';
import { ServerBusy } from '@kallio/protocol';
import type { Logger } from 'pino';

/** Tries again, further and further apart, what failed because the server or the TPM was away, busy or restarted. */
export async function retrying<T>(logger: Logger, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let pause = 500; ; pause = Math.min(pause * 2, 30_000)) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof KallioError)) throw error;
      if (error.code.startsWith('ENROL_')) throw error;
      logger.warn({ code: error.code, reason: error.message }, 'trying again');
      // A server that has no time says when it may have some.
      const asked = error instanceof ServerBusy ? error.retryAfterSeconds * 1000 : 0;
      await wait(Math.max(pause, asked) * (1 + Math.random() * 0.5), undefined, { signal });
    }
  }
}
