import { fromUtf8, KallioError, utf8 } from '@kallio/codec';
import {
  COSIGNATURE_KEY,
  cosignedBy,
  formatAddCheckpoint,
  formatNote,
  formatSignature,
  formatTlogProof,
  isBy,
  type LogWriter,
  type Note,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
} from '@kallio/tlog';
import type { Logger } from 'pino';
import type { Clock } from '../time.ts';

/** A witness as the configuration names it. */
export interface WitnessSetting {
  /** Its verifier key (C2SP tlog-cosignature). */
  readonly key: string;
  /** Its submission prefix: add-checkpoint is below it (C2SP tlog-witness). */
  readonly url: string;
}

const TIMEOUT_MS = 5_000;
/** Longest answer that is read, in bytes: a few signature lines. */
const MAX_ANSWER = 16 * 1024;
/** So long a head is not shown again to a witness that did not sign it. */
const AGAIN_MS = 10_000;

/** A head, who signed it, and when the others were asked last. */
interface Head {
  readonly size: number;
  readonly note: Note;
  readonly cosigned: ReadonlySet<VerifierKey>;
  readonly asked: number;
}

/**
 * Has witnesses sign the log's heads (C2SP tlog-witness), when somebody wants a proof: a head that covers the entry is
 * shown to every witness at once, and what each signed is kept. A witness that does not answer keeps nobody waiting
 * longer than a few seconds; how many are enough is for those to say who verify.
 */
export class Witnessing {
  readonly #log: LogWriter;
  readonly #witnesses: readonly { readonly key: VerifierKey; readonly url: string }[];
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  /** What each witness saw last, as far as it said. */
  readonly #seen = new Map<VerifierKey, number>();
  #head: Head | undefined;
  /** The newest head that every witness signed. */
  #complete: Head | undefined;
  #round: Promise<Head> | undefined;

  constructor(log: LogWriter, witnesses: readonly WitnessSetting[], logger: Logger, clock: Clock) {
    this.#log = log;
    this.#witnesses = witnesses.map(({ key, url }) => ({
      key: parseVerifierKey(key, COSIGNATURE_KEY),
      url: url.replace(/\/$/, ''),
    }));
    this.#logger = logger;
    this.#clock = clock;
  }

  /** A C2SP tlog-proof of an entry under a head that the witnesses were shown; `LOG_RANGE` for one that isn't there. */
  async proof(index: number): Promise<{ proof: string; witnesses: string[] }> {
    // First of all: what is not there has no proof, and no witness is asked for it.
    this.#log.inclusion(index, this.#log.head.size);
    const head = await this.#covering(index);
    const checkpoint = formatNote(head.note);
    const hashes = this.#log.inclusion(index, head.size);
    return {
      proof: formatTlogProof({ index, hashes, checkpoint }),
      witnesses: [...head.cosigned].map(({ name }) => name),
    };
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#round?.catch(() => undefined);
  }

  async #covering(index: number): Promise<Head> {
    // What all have signed proves what it covers for good: a witness that is away now takes nothing from it.
    if (this.#complete !== undefined && index < this.#complete.size) return this.#complete;
    // A round that began before the entry was there shows a head without it: another one follows.
    for (;;) {
      const head = this.#head;
      if (head !== undefined && index < head.size && !this.#worthAsking(head)) return head;
      this.#round ??= this.#ask().finally(() => {
        this.#round = undefined;
      });
      const asked = await this.#round;
      if (index < asked.size) return asked;
    }
  }

  #worthAsking(head: Head): boolean {
    const missing = head.cosigned.size < this.#witnesses.length;
    return missing && this.#clock().getTime() - head.asked > AGAIN_MS;
  }

  async #ask(): Promise<Head> {
    const checkpoint = this.#log.checkpoint('c2sp');
    const { size } = this.#log.head;
    const answers = await Promise.all(
      this.#witnesses.map(({ key, url }) => this.#cosignature(key, url, checkpoint, size)),
    );
    const asked = this.#clock().getTime();
    const note = parseNote(checkpoint + answers.map((answer) => answer ?? '').join(''));
    const cosigned = new Set(
      this.#witnesses.flatMap(({ key }, i) => (answers[i] === undefined ? [] : [key])),
    );
    const head = { size, note, cosigned, asked };
    this.#head = head;
    if (cosigned.size === this.#witnesses.length) this.#complete = head;
    return head;
  }

  /** A witness's line under this head; nothing when it did not sign. */
  async #cosignature(
    key: VerifierKey,
    url: string,
    checkpoint: string,
    size: number,
  ): Promise<string | undefined> {
    try {
      let old = this.#seen.get(key) ?? 0;
      let answer = await this.#addCheckpoint(url, old, checkpoint, size);
      if (answer.status === 409) {
        // Where it is. A size that is larger than the log's own: the log lost what it had shown.
        old = sizeIn(answer.body, size);
        answer = await this.#addCheckpoint(url, old, checkpoint, size);
      }
      if (answer.status !== 200)
        throw new Error(`it answered ${answer.status}: ${answer.body.slice(0, 200)}`);
      const signed = requireSigned(checkpoint, answer.body, key);
      this.#seen.set(key, size);
      return signed;
    } catch (error) {
      // A witness that is away, or refuses, is not the end of a build: those who verify want a quorum, or don't.
      this.#logger.warn({ witness: key.name, err: error }, 'a witness did not sign the log’s head');
      return undefined;
    }
  }

  async #addCheckpoint(url: string, old: number, checkpoint: string, size: number) {
    const hashes = old === 0 ? [] : this.#log.consistency(old, size);
    const response = await fetch(`${url}/add-checkpoint`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: formatAddCheckpoint(old, hashes, checkpoint),
      redirect: 'error',
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    return { status: response.status, body: await bounded(response) };
  }
}

/** The size in a witness's "409 Conflict": a number and a newline, not more than the log has entries. */
function sizeIn(body: string, size: number): number {
  const [, digits] = /^(0|[1-9]\d{0,15})\n$/.exec(body) ?? [];
  const old = Number(digits);
  if (digits === undefined || old > size) {
    throw new Error(`it says that it saw a head of size ${body.slice(0, 32).trim()}, the log has ${size}`);
  }
  return old;
}

/** The witness's own line, if it holds: what else it answers is not passed on. */
function requireSigned(checkpoint: string, body: string, key: VerifierKey): string {
  const note = parseNote(checkpoint + body);
  const [line, ...more] = note.signatures.filter((one) => isBy(one, key.name, key.keyId));
  // Stops one witness from filling the head with lines of its own, until it has no room for those of others.
  if (line === undefined || more.length > 0) throw new Error('its answer is not one line of it');
  cosignedBy(note, [key]);
  return formatSignature(line);
}

async function bounded(response: Response): Promise<string> {
  let bytes = utf8('');
  for await (const chunk of response.body ?? []) {
    if (bytes.length + chunk.length > MAX_ANSWER)
      throw new KallioError('LOG_NOTE_MALFORMED', 'The answer is too long.');
    bytes = new Uint8Array(Buffer.concat([bytes, chunk]));
  }
  return fromUtf8(bytes);
}
