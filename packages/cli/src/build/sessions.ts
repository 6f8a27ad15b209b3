import { KallioError } from '@kallio/codec';
import { agentSessionAbandon, agentSessionAttest, agentSessionOpen, type Client } from '@kallio/protocol';

/** How long it is tried to give sessions up, in milliseconds. Those that can't be end by themselves, with their window. */
const GIVE_UP_MS = 10_000;

/** The attestation sessions of one build, at the build host's agent. */
export class Sessions {
  readonly #agent: Client;
  readonly #stop: AbortSignal;
  readonly #say: (line: string) => void;
  /** Ends what is asked of the agent when there is no more time for it. */
  readonly #over = new AbortController();
  readonly #opening: Promise<string>[] = [];

  constructor(agent: Client, stop: AbortSignal, say: (line: string) => void) {
    this.#agent = agent;
    this.#stop = stop;
    this.#say = say;
  }

  /** Opens a session. The question is not called off: whoever gives the session up must know which it is. */
  async open(): Promise<string> {
    const opening = this.#agent.call(agentSessionOpen, {}, this.#over.signal).then(({ session }) => session);
    this.#opening.push(opening);
    return opening;
  }

  /** Shows evidence of a session. Who can't be reached now is no refusal: the next one shows what was measured. */
  async show(session: string): Promise<void> {
    try {
      await this.#agent.call(agentSessionAttest, { params: { session } }, this.#stop);
    } catch (error) {
      const away = error instanceof KallioError && /^(?:AGENT|SERVER)_UNREACHABLE$/.test(error.code);
      if (!away) throw error;
      this.#stop.throwIfAborted();
      this.#say(`… no evidence in between: ${error.message}`);
    }
  }

  /**
   * Gives up all that were opened, those too whose opening is still under way. The server would let them expire; this says
   * that the build came to nothing. To give up one that was closed changes nothing.
   */
  async giveUp(): Promise<void> {
    const timer = setTimeout(() => this.#over.abort(), GIVE_UP_MS);
    const all = this.#opening.map(async (opening) => {
      const session = await opening.catch(() => undefined);
      if (session === undefined) {
        if (this.#over.signal.aborted)
          this.#say('… the agent does not say which session it opened: it will expire');
        return;
      }
      try {
        await this.#agent.call(agentSessionAbandon, { params: { session } }, this.#over.signal);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        this.#say(`… session ${session} could not be given up, and will expire: ${why}`);
      }
    });
    await Promise.all(all);
    clearTimeout(timer);
  }
}
