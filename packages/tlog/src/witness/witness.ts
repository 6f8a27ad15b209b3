import type { KeyObject } from 'node:crypto';
import { equalBytes, fromBase64, KallioError, toBase64 } from '@kallio/codec';
import { type Checkpoint, verifyC2spCheckpoint } from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import { emptyRoot, HASH_BYTES } from '../hash.ts';
import { type Note, parseNote } from '../note.ts';
import { verifyConsistency } from '../proof.ts';
import type { VerifierKey } from '../verifier-key.ts';
import { cosign } from './cosignature.ts';

/** Longest request that a witness reads, in bytes. */
export const MAX_ADD_CHECKPOINT = 40 * 1024;
const MAX_HASHES = 63;
const OLD = /^old (0|[1-9]\d{0,15})$/;

/** The body of add-checkpoint (C2SP tlog-witness): what the witness last saw, the proof from there, the new head. */
export function formatAddCheckpoint(old: number, hashes: readonly Uint8Array[], checkpoint: string): string {
  return [`old ${old}`, ...hashes.map(toBase64), '', checkpoint].join('\n');
}

/** A witness's answer: an HTTP status, and the body that goes with it. */
export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly type: 'text/plain; charset=utf-8' | 'text/x.tlog.size';
  readonly body: string;
}

/** The largest head of one log that a witness has signed. */
export type Seen = Pick<Checkpoint, 'size' | 'root'>;

/** Where a witness keeps the largest head of each log. `keep` answers when it is durable. */
export interface WitnessMemory {
  seen(origin: string): Seen | undefined;
  keep(origin: string, head: Seen): Promise<void>;
}

/** A witness: its name and key, the logs that it knows, what it has seen. */
export interface WitnessParts {
  readonly name: string;
  readonly raw: Uint8Array;
  readonly key: KeyObject;
  readonly logs: readonly VerifierKey[];
  readonly memory: WitnessMemory;
  readonly now: () => Date;
}

/**
 * A witness (C2SP tlog-witness): signs a log's head only if it extends the last one that it signed. So a log that shows
 * two people two trees needs two sets of witnesses. One request at a time: reading and keeping what was seen is one step.
 */
export class Witness {
  readonly #parts: WitnessParts;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: WitnessParts) {
    this.#parts = parts;
  }

  /** Answers add-checkpoint. */
  addCheckpoint(body: string): Promise<WitnessAnswer> {
    const answer = this.#last.then(() => this.#answer(body));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #answer(body: string): Promise<WitnessAnswer> {
    try {
      return await this.#judge(parseAddCheckpoint(body));
    } catch (error) {
      if (error instanceof KallioError) return said(400, error.message);
      throw error;
    }
  }

  async #judge({ old, hashes, note }: AddCheckpoint): Promise<WitnessAnswer> {
    const { name, raw, key, logs, memory, now } = this.#parts;
    const [origin = ''] = note.text.split('\n');
    const log = logs.find((one) => one.name === origin);
    if (log === undefined) return said(404, 'This witness does not know this log.');
    const head = headOf(note, log);
    if (head === undefined) return said(403, 'The checkpoint is not signed by the log.');
    if (old > head.size) return said(400, 'The old size is larger than the new one.');
    const seen = memory.seen(origin);
    const size = seen?.size ?? 0;
    // Stops a log from leaving out what this witness saw: the proof must begin there.
    if (old !== size) return { status: 409, type: 'text/x.tlog.size', body: `${size}\n` };
    if (seen !== undefined && old === head.size && !equalBytes(seen.root, head.root)) {
      return { status: 409, type: 'text/x.tlog.size', body: `${size}\n` };
    }
    // The empty tree, seen or not, is the beginning of every other.
    if (seen !== undefined && seen.size > 0) {
      if (!extendsSeen(seen, head, hashes))
        return said(422, 'The proof does not lead from the last checkpoint to this one.');
    } else if (hashes.length > 0) {
      return said(422, 'From nothing on there is nothing to prove.');
    }
    if (head.size === 0 && !equalBytes(head.root, emptyRoot()))
      return said(422, 'The empty tree has another root.');
    // COMMIT POINT: kept before it is signed, so that no crash lets another head of a smaller size be signed.
    await memory.keep(origin, { size: head.size, root: head.root });
    const time = Math.floor(now().getTime() / 1000);
    return said(200, cosign(note.text, { name, raw, key }, time));
  }
}

interface AddCheckpoint {
  readonly old: number;
  readonly hashes: readonly Uint8Array[];
  readonly note: Note;
}

function parseAddCheckpoint(body: string): AddCheckpoint {
  const split = body.indexOf('\n\n');
  const [first = '', ...encoded] = body.slice(0, Math.max(0, split)).split('\n');
  const [, digits] = OLD.exec(first) ?? [];
  if (body.length > MAX_ADD_CHECKPOINT || digits === undefined || encoded.length > MAX_HASHES) {
    throw tlogError('LOG_PROOF_MALFORMED', 'This is no request to add a checkpoint.');
  }
  const hashes = encoded.map((line) => fromBase64(line));
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) {
    throw tlogError('LOG_PROOF_MALFORMED', 'One of the hashes is no SHA-256.');
  }
  return { old: Number(digits), hashes, note: parseNote(body.slice(split + 2)) };
}

function headOf(note: Note, log: VerifierKey): Checkpoint | undefined {
  try {
    return verifyC2spCheckpoint(note, log);
  } catch (error) {
    if (error instanceof KallioError && error.code === 'LOG_CHECKPOINT_SIGNATURE') return undefined;
    throw error;
  }
}

function extendsSeen(seen: Seen, head: Checkpoint, hashes: readonly Uint8Array[]): boolean {
  try {
    verifyConsistency({
      from: seen.size,
      to: head.size,
      fromRoot: seen.root,
      toRoot: head.root,
      hashes,
    });
    return true;
  } catch (error) {
    if (error instanceof KallioError) return false;
    throw error;
  }
}

function said(status: WitnessAnswer['status'], body: string): WitnessAnswer {
  return { status, type: 'text/plain; charset=utf-8', body: body.endsWith('\n') ? body : `${body}\n` };
}
