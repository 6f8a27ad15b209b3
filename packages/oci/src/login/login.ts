import { ociError } from '../error.ts';
import { type Challenge, challengeOf } from './challenge.ts';
import { basicAuthorization, type Credentials, type FindCredentials } from './credentials.ts';
import { loginHint } from './hint.ts';
import { askToken, type Token } from './token.ts';

/** What is to be done in the repository: who reads gets no token to write with. */
export type Actions = 'pull' | 'pull,push';

/** Where one logs in. */
export interface Place {
  /** As references name it. */
  readonly registry: string;
  readonly repository: string;
  /** The scheme it is spoken to with: a realm is asked over no worse one. */
  readonly protocol: 'http:' | 'https:';
}

/** A token is not used in its last seconds, in milliseconds: a question may be on its way for some time. */
const NEARLY_OVER_MS = 10_000;

/** What shows one registry who asks. What it says goes to that registry (and, for a token, to its realm): never elsewhere. */
export class Login {
  readonly #place: Place;
  readonly #find: FindCredentials;
  #challenge: Challenge | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  readonly #tokens = new Map<Actions, Promise<Token>>();

  constructor(place: Place, find: FindCredentials) {
    this.#place = place;
    this.#find = find;
  }

  /** The value of `Authorization` for a question that does this; undefined while the registry has not asked for any. */
  async header(actions: Actions): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    return challenge.scheme === 'basic' ? this.#basic() : bearer(await this.#token(challenge, actions));
  }

  /**
   * Takes up what a registry answered (401) to a question that said `shown`: what to say instead. The same where there is
   * nothing else, undefined where it can't be answered; `OCI_DENIED` where there are no credentials that it would look at.
   */
  async challenged(
    header: string | undefined,
    shown: string | undefined,
    actions: Actions,
  ): Promise<string | undefined> {
    const challenge = challengeOf(header);
    if (challenge === undefined) return undefined;
    this.#challenge = challenge;
    // A token may be taken back before its time. Of several questions at once, another may have had a new one made already.
    for (const [kind, token] of [...this.#tokens]) {
      if (bearer(await token) === shown) this.#tokens.delete(kind);
    }
    return this.header(actions);
  }

  async #basic(): Promise<string> {
    const authorization = basicAuthorization(await this.#found());
    if (authorization !== undefined) return authorization;
    const { registry } = this.#place;
    throw ociError('OCI_DENIED', `The registry ${registry} wants to know who asks.`, {
      hint: loginHint(registry),
    });
  }

  async #token(challenge: Challenge & { scheme: 'bearer' }, actions: Actions): Promise<Token> {
    for (const fit of [actions, 'pull,push'] as const) {
      const kept = this.#tokens.get(fit);
      if (kept === undefined) continue;
      const token = await kept;
      if (token.until - NEARLY_OVER_MS > process.uptime() * 1000) return token;
      if (this.#tokens.get(fit) === kept) this.#tokens.delete(fit);
    }
    let asked = this.#tokens.get(actions);
    if (asked === undefined) {
      const made = this.#found().then((credentials) =>
        askToken({ ...challenge, ...this.#place, actions }, credentials),
      );
      asked = made;
      this.#tokens.set(actions, made);
      // What went wrong once may go well the next time.
      made.catch(() => this.#tokens.get(actions) === made && this.#tokens.delete(actions));
    }
    return asked;
  }

  #found(): Promise<Credentials | undefined> {
    this.#credentials ??= this.#find(this.#place.registry, this.#place.repository);
    return this.#credentials;
  }
}

function bearer({ value }: Token): string {
  return `Bearer ${value}`;
}
