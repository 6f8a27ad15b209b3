import { setTimeout as wait } from 'node:timers/promises';
import { KallioError } from '@kallio/codec';
import { agentSessionClose, type Client, type Reply } from '@kallio/protocol';

/** Failures that decide nothing: whoever is asked again goes on from where it was. */
const AWAY = new Set(['AGENT_UNREACHABLE', 'SERVER_UNREACHABLE', 'SERVER_BUSY', 'LOG_BUSY', 'TPM_BUSY']);
/** How long an agent or server may be away, in milliseconds: one that is started again takes seconds. */
const PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 5_000;

/**
 * Closes a session on what was built. An agent, server, log or TPM that is away meanwhile is asked again: the image is
 * there, and the session may be closed on it already. `stop` ends the asking.
 */
export async function closeSession(
  agent: Client,
  session: string,
  claims: unknown,
  say: (line: string) => void,
  stop: AbortSignal,
): Promise<Reply<typeof agentSessionClose>> {
  const until = Date.now() + PATIENCE_MS;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
    try {
      return await agent.call(agentSessionClose, { params: { session }, body: { claims } }, stop);
    } catch (error) {
      stop.throwIfAborted();
      const away = error instanceof KallioError && AWAY.has(error.code);
      if (!away || Date.now() + pause > until) throw error;
      say(`… not closed yet: ${error.message}`);
      await wait(pause, undefined, { signal: stop });
    }
  }
}
