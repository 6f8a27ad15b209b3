import { nowMs } from '../clock.ts';
import { ociError } from '../error.ts';
import { type Challenge, challengeOf } from './challenge.ts';
import { basicAuthorization, type Credentials, type FindCredentials, secretsOf } from './credentials.ts';
import { loginHint } from './hint.ts';
import { Shown } from './shown.ts';
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
  /** All that was: what the registry says of it is not told on. */
  readonly shown = new Shown();
  readonly #place: Place;
  readonly #find: FindCredentials;
  #challenge: Challenge | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  /** The last token for each, unless it was refused. */
  readonly #tokens = new Map<Actions, Token>();
  /** Those that are being made. */
  readonly #asked = new Map<Actions, Promise<Token>>();

  constructor(place: Place, find: FindCredentials) {
    this.#place = place;
    this.#find = find;
  }

  /**
   * The value of `Authorization` for a question that does this. Undefined while the registry has not asked for any, and where
   * nobody is known to it: what it asks of who writes, it may not ask of who reads.
   */
  async header(actions: Actions): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === 'basic') return basicAuthorization(await this.#found());
    return bearer(await this.#token(challenge, actions));
  }

  /**
   * Takes up what a registry answered (401) to a question that said `shown`: what to say instead. The same where there is
   * nothing else, undefined where it can't be answered; `OCI_DENIED` where there are no credentials that it would look at.
   */
  async challenged(
    answered: string | undefined,
    shown: string | undefined,
    actions: Actions,
  ): Promise<string | undefined> {
    const challenge = challengeOf(answered);
    if (challenge === undefined) return undefined;
    this.#challenge = challenge;
    // A token may be taken back before its time. Of several questions at once, another may have had a new one made already.
    for (const [kind, token] of this.#tokens) if (bearer(token) === shown) this.#tokens.delete(kind);
    const header = await this.header(actions);
    if (header !== undefined) return header;
    const { registry } = this.#place;
    throw ociError('OCI_DENIED', `The registry ${registry} wants to know who asks.`, {
      hint: loginHint(registry),
    });
  }

  async #token(challenge: Challenge & { scheme: 'bearer' }, actions: Actions): Promise<Token> {
    for (const fit of [actions, 'pull,push'] as const) {
      const token = this.#tokens.get(fit);
      if (token !== undefined && token.until - NEARLY_OVER_MS > nowMs()) return token;
    }
    // Of who asks for the same at once, the first asks for all. What went wrong may go well the next time.
    const asked =
      this.#asked.get(actions) ??
      this.#made(challenge, actions).finally(() => {
        this.#asked.delete(actions);
      });
    this.#asked.set(actions, asked);
    return asked;
  }

  async #made(challenge: Challenge & { scheme: 'bearer' }, actions: Actions): Promise<Token> {
    const credentials = await this.#found();
    const token = await askToken({ ...challenge, ...this.#place, actions }, credentials, this.shown);
    this.shown.add(token.value);
    this.#tokens.set(actions, token);
    return token;
  }

  async #found(): Promise<Credentials | undefined> {
    const found = this.#credentials ?? this.#find(this.#place.registry, this.#place.repository);
    this.#credentials = found;
    try {
      const credentials = await found;
      for (const secret of secretsOf(credentials)) this.shown.add(secret);
      return credentials;
    } catch (error) {
      // A helper that did not answer once may do so the next time.
      if (this.#credentials === found) this.#credentials = undefined;
      throw error;
    }
  }
}

function bearer({ value }: Token): string {
  return `Bearer ${value}`;
}
