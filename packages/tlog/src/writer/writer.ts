import { sign } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { concat, equalBytes, toBase64, toHex, utf8 } from '@kallio/codec';
import { type Checkpoint, c2spOrigin, checkpointText, type Rendering } from '../checkpoint.ts';
import { type LogEntry, setPayload } from '../entry.ts';
import { tlogError } from '../error.ts';
import { HASH_BYTES, leafHash } from '../hash.ts';
import { nodesFromTiles, parseTilePath, TILE_WIDTH, tileExists } from '../tiles.ts';
import { consistencyProof, inclusionProof, rootOf } from '../tree.ts';
import { formatVerifierKey, NOTE_KEY } from '../verifier-key.ts';
import { beginLog, replaceFile } from './begin.ts';
import { type Disk, fileSystem } from './disk.ts';
import { appendEntries, type FileWrite, integrate } from './integrate.ts';
import { type LogKeys, type LogSigner, logSigner } from './keys.ts';
import { LogReader, tileFile } from './layout.ts';
import { Lock } from './lock.ts';

/** Longest entry, in bytes: what a bundle's 16-bit length can hold. */
export const MAX_ENTRY_BYTES = 65_535;
/** Most entries sequenced in one round: bounds what one failure can refuse and how long one waits. */
const MAX_ROUND = 1024;
/** Most entries that may wait for a round. */
const MAX_WAITING = 16 * MAX_ROUND;
/** Full tiles kept in memory; each is 8 KiB. */
const CACHED_TILES = 256;

/** How a log is opened. */
export interface LogOptions {
  /** {@link logOrigin} of the host and the P-256 key. */
  readonly origin: string;
  readonly keys: LogKeys;
  readonly now: () => Date;
  /** Where the files go; the file system unless a test says otherwise. */
  readonly disk?: Disk;
}

/** An entry that is in the log, with its proof under the newest head. */
export type AddedEntry = LogEntry;

/** Where an entry came to stand, and when. */
interface Placed {
  readonly index: number;
  readonly time: number;
}

interface Waiting {
  readonly body: Uint8Array;
  readonly hash: Uint8Array;
  readonly resolve: (placed: Placed) => void;
  readonly reject: (error: unknown) => void;
}

/** Everything a head covers, as memory holds it. Replaced whole when a round commits. */
interface Committed {
  readonly size: number;
  readonly root: Uint8Array;
  /** Partial tile at the right edge of each level. */
  readonly edges: readonly Uint8Array[];
  /** Bytes of the last bundle's file. */
  readonly bundleBytes: number;
  /** Integrated time of the last entry. */
  readonly time: number;
  readonly signed: Readonly<Record<Rendering, string>>;
}

/**
 * The one writer of a log's directory. `add` answers only when the head that covers the entry is durable; entries
 * that are added at the same time share one round of writing. Opening after a crash needs no repair: what the head
 * covers is there, what it does not cover was never answered for and is written over.
 */
export class LogWriter {
  readonly #directory: string;
  readonly #origin: string;
  readonly #signer: LogSigner;
  readonly #now: () => Date;
  readonly #disk: Disk;
  readonly #lock: Lock;
  readonly #reader: LogReader;
  /** Leaf hash (as a string of its bytes) to index. */
  readonly #indexOf = new Map<string, number>();
  readonly #nodeAt = nodesFromTiles((level, index) => this.#tileAt(level, index));
  readonly #tiles = new Map<string, Uint8Array>();
  readonly #inFlight = new Map<string, Promise<Placed>>();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #stopped: unknown;
  #closed = false;
  #state: Committed;

  private constructor(directory: string, options: LogOptions, lock: Lock) {
    this.#directory = directory;
    this.#origin = options.origin;
    this.#signer = logSigner(options.keys);
    this.#now = options.now;
    this.#disk = options.disk ?? fileSystem;
    this.#lock = lock;
    this.#reader = new LogReader(directory);
    this.#state = this.#load();
  }

  /**
   * Opens the log in a directory, or begins one there. `LOG_LOCKED` while another process writes it, `LOG_CORRUPT`
   * when the head covers what is not there, `LOG_KEY_UNKNOWN` when the directory is another log's.
   */
  static async open(directory: string, options: LogOptions): Promise<LogWriter> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const lock = new Lock(directory);
    try {
      const disk = options.disk ?? fileSystem;
      await beginLog(directory, disk, { origin: options.origin, logId: logSigner(options.keys).logId });
      const writer = new LogWriter(directory, options, lock);
      await writer.#publish(writer.#state.signed);
      return writer;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** SPKI of the log's P-256 key, DER. */
  get publicKey(): Uint8Array {
    return this.#signer.spki;
  }

  /** The log's Ed25519 key, as C2SP writes it: by it the heads are signed that witnesses see. */
  get verifierKey(): string {
    return formatVerifierKey(c2spOrigin(this.#origin), NOTE_KEY, this.#signer.raw);
  }

  /** The newest committed head. */
  get head(): Checkpoint {
    return { origin: this.#origin, size: this.#state.size, root: this.#state.root };
  }

  /** The newest head, signed. */
  checkpoint(rendering: Rendering): string {
    return this.#state.signed[rendering];
  }

  /**
   * Adds an entry and answers when it is committed. An entry that is in the log already is not added again: the
   * answer is the first one's. `LOG_ENTRY_SIZE`; `LOG_WRITE_FAILED` (nothing was committed: try again);
   * `LOG_STOPPED` (a commit failed half-way: the log must be opened again); `LOG_CLOSED`.
   */
  async add(body: Uint8Array): Promise<AddedEntry> {
    if (body.length === 0 || body.length > MAX_ENTRY_BYTES) {
      throw tlogError(
        'LOG_ENTRY_SIZE',
        `An entry has 1 to ${MAX_ENTRY_BYTES} bytes, this one ${body.length}.`,
      );
    }
    this.#requireRunning();
    const hash = leafHash(body);
    const key = keyOf(hash);
    const known = this.#indexOf.get(key);
    if (known !== undefined) return this.entry(known);
    let placed = this.#inFlight.get(key);
    if (placed === undefined) {
      if (this.#waiting.length >= MAX_WAITING) {
        throw tlogError('LOG_BUSY', 'More entries wait than this log takes on.', {
          hint: 'Try again later.',
        });
      }
      placed = new Promise<Placed>((resolve, reject) => {
        this.#waiting.push({ body: body.slice(), hash, resolve, reject });
      });
      this.#inFlight.set(key, placed);
      this.#running ??= this.#run();
    }
    return this.#prove(await placed, body);
  }

  /** A committed entry with its proof under the newest head; `LOG_ENTRY_UNKNOWN`. */
  entry(index: number): AddedEntry {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.#state.size) {
      throw tlogError('LOG_ENTRY_UNKNOWN', `The log has no entry ${index}.`);
    }
    const width = (index % TILE_WIDTH) + 1;
    const bundle = (index + 1 - width) / TILE_WIDTH;
    const body = this.#reader.bundle(bundle, width).entries.at(-1) ?? concat();
    const time = this.#reader.times(bundle, width).at(-1) ?? 0;
    return this.#prove({ index, time }, body);
  }

  #prove({ index, time: integratedTime }: Placed, body: Uint8Array): AddedEntry {
    const { size, root, signed } = this.#state;
    const entry = { logIndex: index, integratedTime, logId: this.#signer.logId, body: toBase64(body) };
    return {
      ...entry,
      signedEntryTimestamp: toBase64(sign('sha256', setPayload(entry), this.#signer.p256)),
      inclusionProof: {
        logIndex: index,
        treeSize: size,
        rootHash: toHex(root),
        hashes: inclusionProof(index, size, this.#nodeAt).map(toHex),
        checkpoint: signed.sigstore,
      },
    };
  }

  /** Hashes that lead from an entry to the root of the head of this size; `LOG_RANGE`. */
  inclusion(index: number, size: number): Uint8Array[] {
    if (!(size <= this.#state.size)) throw tlogError('LOG_RANGE', `The log has no head of size ${size}.`);
    return inclusionProof(index, size, this.#nodeAt);
  }

  /** Hashes that show that the head of size `to` extends that of size `from`; `LOG_RANGE`. */
  consistency(from: number, to: number): Uint8Array[] {
    if (!(to <= this.#state.size)) throw tlogError('LOG_RANGE', `The log has no head of size ${to}.`);
    return consistencyProof(from, to, this.#nodeAt);
  }

  /**
   * The tile or bundle at a path of C2SP tlog-tiles, if the committed tree has it. Bytes that a crash left behind
   * the head are never shown.
   */
  tile(path: string): Uint8Array | undefined {
    const tile = parseTilePath(path);
    if (!tileExists(tile, this.#state.size)) return undefined;
    return tile.kind === 'entries'
      ? this.#reader.bundle(tile.index, tile.width).bytes
      : this.#reader.tile(tile.kind, tile.index, tile.width);
  }

  /** Waits for what is being written, then lets go of the directory. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running;
    this.#lock.release();
  }

  #requireRunning(): void {
    if (this.#closed) throw tlogError('LOG_CLOSED', 'This log is closed.');
    if (this.#stopped !== undefined) throw stopped(this.#stopped);
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const round = this.#waiting.splice(0, MAX_ROUND);
      const first = this.#state.size;
      try {
        if (this.#stopped !== undefined) throw stopped(this.#stopped);
        await this.#sequence(round);
        const { time } = this.#state;
        for (const [i, { resolve }] of round.entries()) resolve({ index: first + i, time });
      } catch (error) {
        for (const { reject } of round) reject(error);
      }
      for (const { hash } of round) this.#inFlight.delete(keyOf(hash));
    }
    this.#running = undefined;
  }

  async #sequence(round: readonly Waiting[]): Promise<void> {
    const old = this.#state;
    // A clock that was set back must not make the log's own order look wrong.
    const time = Math.max(old.time, Math.floor(this.#now().getTime() / 1000));
    const leaves = round.map(({ hash }) => hash);
    const { writes, edges } = integrate(old.size, old.edges, leaves);
    const size = old.size + round.length;
    const root = rootOf(
      size,
      nodesFromTiles((level) => edges[level] ?? concat()),
    );
    const bodies = round.map(({ body }) => body);
    const bundles = appendEntries({ ...old, entries: bodies, time });
    const head = { origin: this.#origin, size, root };
    try {
      await allEnded([...bundles.writes, ...writes].map((file) => this.#append(file)));
      await this.#disk.create(this.#path('head.tmp'), utf8(checkpointText(head)));
      await this.#disk.sync(this.#path('head.tmp'));
    } catch (cause) {
      throw tlogError('LOG_WRITE_FAILED', 'The log could not write. Nothing was added.', {
        cause,
        hint: 'Is the disk full?',
      });
    }
    try {
      // The commit point. Up to here the old head is the log and the new bytes are nothing; from the rename on the
      // new head is the log. It is durable once the directory is synced, and only then is it signed: so no two
      // heads of one size are ever signed, wherever a crash strikes.
      await this.#disk.rename(this.#path('head.tmp'), this.#path('head'));
      await this.#disk.sync(this.#directory);
      const signed = this.#signer.sign(head);
      await this.#publish(signed);
      for (const [i, hash] of leaves.entries()) this.#indexOf.set(keyOf(hash), old.size + i);
      this.#state = { size, root, edges, bundleBytes: bundles.bundleBytes, time, signed };
    } catch (cause) {
      // Which of the two heads the disk holds is not known here. Opening finds out; guessing could fork the log.
      this.#stopped = cause;
      throw stopped(cause);
    }
  }

  async #append(file: FileWrite): Promise<void> {
    const path = this.#path(file.name);
    if (file.offset === 0) await this.#disk.makeDirectory(dirname(path));
    await this.#disk.write(path, file.offset, file.bytes);
    await this.#disk.sync(path);
    if (file.offset !== 0) return;
    // A new file is durable when its name is, and the names of the directories above it.
    for (let up = dirname(path); up.length >= this.#directory.length; up = dirname(up))
      await this.#disk.sync(up);
  }

  /** Copies of the signed heads for whoever serves or checks the directory. Made anew on every opening. */
  async #publish(signed: Readonly<Record<Rendering, string>>): Promise<void> {
    await allEnded([
      replaceFile(this.#disk, this.#path('checkpoint'), utf8(signed.c2sp)),
      replaceFile(this.#disk, this.#path('checkpoint.sigstore'), utf8(signed.sigstore)),
    ]);
  }

  /** What the committed head covers. The same whether the last writer closed, crashed, or there was none. */
  #load(): Committed {
    const head = this.#reader.head();
    const { size } = head;
    const edges = this.#reader.edges(size);
    const root = rootOf(
      size,
      nodesFromTiles((level) => edges[level] ?? concat()),
    );
    if (!equalBytes(root, head.root)) {
      throw tlogError('LOG_CORRUPT', 'The log’s tiles do not lead to its head.', { pointer: 'head' });
    }
    this.#reader.requireNotBehind(head);
    for (const { index, hashes } of this.#reader.leafTiles(size)) {
      for (let at = 0; at < hashes.length; at += HASH_BYTES) {
        const key = keyOf(hashes.subarray(at, at + HASH_BYTES));
        if (!this.#indexOf.has(key)) this.#indexOf.set(key, index * TILE_WIDTH + at / HASH_BYTES);
      }
    }
    const width = size % TILE_WIDTH;
    const last = Math.floor((size - 1) / TILE_WIDTH);
    return {
      size,
      root,
      edges,
      bundleBytes: width === 0 ? 0 : this.#reader.bundle(last, width).bytes.length,
      time: size === 0 ? 0 : (this.#reader.times(last, ((size - 1) % TILE_WIDTH) + 1).at(-1) ?? 0),
      signed: this.#signer.sign({ origin: this.#origin, size, root }),
    };
  }

  #tileAt(level: number, index: number): Uint8Array {
    const { size, edges } = this.#state;
    const full = index < Math.floor(size / TILE_WIDTH ** (level + 1));
    return full ? this.#fullTile(level, index) : (edges[level] ?? concat());
  }

  #fullTile(level: number, index: number): Uint8Array {
    const name = tileFile(level, index);
    const cached = this.#tiles.get(name);
    if (cached !== undefined) return cached;
    const tile = this.#reader.tile(level, index, TILE_WIDTH);
    const [oldest] = this.#tiles.keys();
    if (this.#tiles.size >= CACHED_TILES && oldest !== undefined) this.#tiles.delete(oldest);
    this.#tiles.set(name, tile);
    return tile;
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/**
 * Throws the first failure, but only when nothing is under way any more: a write that outlives its round, or the lock,
 * would fall into whatever the next writer has made of the file.
 */
async function allEnded(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.length).toString('latin1');
}

function stopped(cause: unknown) {
  return tlogError('LOG_STOPPED', 'The log stopped, because a commit failed half-way.', {
    cause,
    hint: 'Open it again; entries that were acknowledged are safe.',
  });
}
