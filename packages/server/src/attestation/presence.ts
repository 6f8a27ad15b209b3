import type { attesterActivity, CallInput, Reachability } from '@kallio/protocol';
import type { Streams } from '@kallio/protocol/serve';

type Doing = CallInput<typeof attesterActivity>['body']['doing'];

/** A machine that said that it goes down, and is not back after this long, is not coming. */
const REBOOT_MS = 15 * 60_000;
/** A quote that takes longer is not slow any more: a TPM's self-test stalls for 10 s at the worst. */
const QUOTE_MS = 60_000;
/** Evidence this young says by itself that the attester can be reached. */
const RECENT_MS = 90_000;

/**
 * Whether attesters can be reached, and if not, why, as far as they said. In memory only: it is told anew whenever it
 * matters, and no state rests on it. An attester that lies here only says of itself that it is slow.
 */
export class Presence {
  readonly #streams: Streams;
  readonly #said = new Map<string, { readonly doing: Doing; readonly at: number }>();

  constructor(streams: Streams) {
    this.#streams = streams;
  }

  /** An attester says what it does. */
  say(attester: string, doing: Doing, now: Date): void {
    this.#said.set(attester, { doing, at: now.getTime() });
  }

  /** Evidence came: whatever was said before is over. */
  heard(attester: string): void {
    this.#said.delete(attester);
  }

  of(
    attester: string,
    facts: { readonly lastEvidenceAt: number | undefined; readonly updating: boolean },
    now: Date,
  ): Reachability {
    const time = now.getTime();
    const said = this.#said.get(attester);
    if (said?.doing === 'rebooting' && time - said.at < REBOOT_MS) return 'rebooting';
    if (said?.doing === 'quoting' && time - said.at < QUOTE_MS) return 'slow';
    const recent = facts.lastEvidenceAt !== undefined && time - facts.lastEvidenceAt < RECENT_MS;
    const here = this.#streams.has(attester) || (recent && said?.doing !== 'ending');
    if (!here) return 'unreachable';
    return facts.updating ? 'updating' : 'reachable';
  }
}
