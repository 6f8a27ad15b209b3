import { KallioError } from '@kallio/codec';
import { ociError } from '../error.ts';
import type { Answer, Question, Streamed } from '../http/connection.ts';
import { exchange } from '../http/exchange.ts';
import type { FindCredentials } from '../login/credentials.ts';
import type { Login } from '../login/login.ts';
import { isLoopback } from '../reference.ts';
import { type Asked, denied, failure, unreachable } from './refusal.ts';

/** How long a question may take, in milliseconds; to it comes the time for what is sent or fetched. */
const TIMEOUT_MS = 60_000;
/** The slowest connection that is put up with, in bytes a millisecond. A slower one may be there to keep us waiting. */
const SLOWEST = 256;
/** The most of that time, whatever size a hostile manifest claims. */
const MAX_TRANSFER_MS = 3_600_000;
/** How often a registry is shown something for one question: what there is, and something newer. */
const MAX_SHOWN = 2;
/** Most redirects that are followed. */
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Registries that are spoken to under another name than the one that images bear. */
const SERVED_BY: ReadonlyMap<string, string> = new Map([['docker.io', 'registry-1.docker.io']]);

/** What is sent along with a question. */
export interface Sent {
  readonly body?: Uint8Array | Streamed;
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How many bytes are expected: for them there is more time. */
  readonly size?: number;
}

/**
 * How one repository of a registry is asked: over TLS, except on this machine; as somebody, once the registry wants to know;
 * led elsewhere for what is read, and not for what is sent.
 */
export class RegistryClient implements Asked {
  /** The address of the repository, under which everything of it is. */
  readonly base: string;
  readonly registry: string;
  readonly repository: string;
  readonly #find: FindCredentials;
  /** There once the registry has asked who asks. */
  #login: Login | undefined;

  constructor(
    { registry, repository }: { readonly registry: string; readonly repository: string },
    find: FindCredentials,
  ) {
    this.registry = registry;
    this.repository = repository;
    const host = SERVED_BY.get(registry) ?? registry;
    this.base = `${isLoopback(host) ? 'http' : 'https'}://${host}/v2/${repository}`;
    this.#find = find;
  }

  /** As references name it. */
  get name(): string {
    return `${this.registry}/${this.repository}`;
  }

  /** The answer, or undefined for 404. `size` is how many bytes are expected. */
  async get(path: string, headers: Record<string, string> = {}, size = 0): Promise<Answer | undefined> {
    const answer = await this.send('GET', path, { headers, size });
    if (answer.status === 200) return answer;
    // Not what is asked for of it, which may be the registry's word (a list's next page).
    if (answer.status !== 404) throw await failure(this, `read ${path.replace(/\?.*/s, '')}`, answer);
    answer.drop();
    return undefined;
  }

  /**
   * The answer, whatever it is, to a question about something of the repository, or of a place that the registry led to.
   * `OCI_UNREACHABLE`, `OCI_DENIED`, `OCI_REGISTRY`.
   */
  async send(
    method: Question['method'],
    where: string | URL,
    { body, headers, size = 0 }: Sent = {},
  ): Promise<Answer> {
    const transferMs = Math.min(Math.max(size, body?.length ?? 0) / SLOWEST, MAX_TRANSFER_MS);
    const budgetMs = Math.ceil(TIMEOUT_MS + transferMs);
    let url = typeof where === 'string' ? new URL(`${this.base}${where}`) : where;
    // Attack: an upload address or a redirect on another host would be sent the credentials; or would lead back to what it
    // wants to have read with them.
    let own = true;
    for (let redirects = 0; ; redirects++) {
      own &&= this.#isOwn(url);
      const question = { method, url, headers: headers ?? {}, body, budgetMs };
      const answer = await (own ? this.#askAsKnown(question) : this.#ask(question));
      const location = answer.header('location');
      const elsewhere = REDIRECTS.has(answer.status) && location !== undefined;
      // What is sent stays here: only reading is led elsewhere.
      if (!elsewhere || method === 'POST' || method === 'PUT') return answer;
      answer.drop();
      url = this.led(location, url);
      // Attack: round and round.
      if (redirects >= MAX_REDIRECTS) throw this.#astray();
    }
  }

  /**
   * Where a registry's answer leads. Attack: from TLS to a connection that anybody on the way reads and writes; from this
   * machine to such a one on another.
   */
  led(location: string, from = new URL(this.base)): URL {
    if (!URL.canParse(location, from.href)) throw this.#astray();
    const to = new URL(location, from.href);
    const plain = to.protocol === 'http:' && from.protocol === 'http:' && isLoopback(to.host);
    if (to.protocol !== 'https:' && !plain) throw this.#astray();
    return to;
  }

  without(text: string): string | undefined {
    return this.#login === undefined ? text : this.#login.shown.without(text);
  }

  /** Asks as whom the registry lets ask; as nobody in particular until it wants to know. */
  async #askAsKnown(question: Question): Promise<Answer> {
    const { method, headers, body } = question;
    const actions = method === 'GET' || method === 'HEAD' ? 'pull' : 'pull,push';
    // What is sent as it comes can't be sent again. Before it, its upload was begun by somebody who was known.
    const once = body !== undefined && !(body instanceof Uint8Array);
    let authorization = await this.#login?.header(actions);
    for (let shown = 0; ; shown++) {
      const known = authorization === undefined ? headers : { ...headers, authorization };
      const answer = await this.#ask({ ...question, headers: known });
      if (answer.status !== 401 || once || shown === MAX_SHOWN) return answer;
      answer.drop();
      const login = await this.#loggedIn();
      const other = await login.challenged(answer.header('www-authenticate'), authorization, actions);
      if (other === undefined || other === authorization) throw denied(this, answer.status);
      authorization = other;
    }
  }

  async #loggedIn(): Promise<Login> {
    const { Login } = await import('../login/login.ts');
    const { registry, repository } = this;
    const protocol = isLoopback(registry) ? 'http:' : 'https:';
    this.#login ??= new Login({ registry, repository, protocol }, this.#find);
    return this.#login;
  }

  async #ask(question: Question): Promise<Answer> {
    try {
      const answer = await exchange(question);
      return { ...answer, body: this.#unbroken(answer.body, question.url) };
    } catch (cause) {
      // What was sent was refused on its way: that says more than that the question broke off.
      if (cause instanceof KallioError) throw cause;
      throw this.#unreachable(cause, question.url);
    }
  }

  /** A body whose connection breaks ends like a registry that does not answer, which is what it is. */
  async *#unbroken(body: AsyncIterable<Uint8Array>, url: URL): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (cause) {
      throw this.#unreachable(cause, url);
    }
  }

  #unreachable(cause: unknown, url: URL): Error {
    return unreachable(this, cause, this.#isOwn(url) ? undefined : url.host);
  }

  #astray(): Error {
    return ociError('OCI_REGISTRY', `The registry ${this.registry} leads to where it is not followed.`);
  }

  #isOwn(url: URL): boolean {
    return url.origin === new URL(this.base).origin;
  }
}
