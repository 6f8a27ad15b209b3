import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeShape, Exact, equalBytes, parseJson, toHex, utf8 } from '@kallio/codec';
import {
  INSTANCE_PCR,
  InstanceEntry,
  type InstanceEvent,
  instanceCommitment,
  type LoggedContainer,
  replayInstanceLog,
  runningInstances,
  zeroPcr,
} from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { agentError } from '../error.ts';
import { syncFolder } from '../files.ts';
import type { TpmIdentity } from '../identity/identity.ts';
import { Turns } from '../turns.ts';

/** A line of the log file: an entry that is about to be extended, or the word that it was. */
const Line = Type.Union([Exact({ intent: InstanceEntry }), Exact({ commit: Type.Integer({ minimum: 0 }) })]);

type Anchor = Pick<TpmIdentity, 'clock' | 'pcrExtend' | 'pcrRead'>;

/**
 * The instance log: what the runtime was allowed to do, anchored in PCR 14. One file for each boot of the TPM.
 *
 * Every entry goes write-ahead intent (fsync) -> PCR 14 -> commit (fsync). After a crash at any instruction the last
 * intent either stands in the PCR or does not, and the PCR itself says which.
 */
export class InstanceLog {
  readonly #tpm: Anchor;
  readonly #file: FileHandle;
  readonly #entries: InstanceEntry[];
  readonly #turns = new Turns();
  readonly #listeners: (() => void)[] = [];
  /** The boot of the TPM that this log is of. */
  readonly resetCount: number;
  #containers: Map<string, LoggedContainer>;
  #broken: Error | undefined;

  private constructor(
    tpm: Anchor,
    resetCount: number,
    file: FileHandle,
    entries: InstanceEntry[],
    broken: Error | undefined,
  ) {
    this.#tpm = tpm;
    this.resetCount = resetCount;
    this.#file = file;
    this.#entries = entries;
    this.#containers = runningInstances(entries);
    this.#broken = broken;
  }

  /** Opens the log of the present boot and makes it agree with PCR 14, if it can. */
  static async open(dir: string, tpm: Anchor): Promise<InstanceLog> {
    const { resetCount, restartCount } = await tpm.clock();
    const boot = `${resetCount}-${restartCount}`;
    const folder = join(dir, 'instance-log');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, `${boot}.jsonl`);
    const file = await open(path, 'a+', 0o600);
    await syncFolder(folder);
    const { entries, open: pending, whole } = parse(new Uint8Array(await readFile(path)));
    // A line that a crash cut short was never acted on.
    await truncate(path, whole);
    const value = await tpm.pcrRead(INSTANCE_PCR);
    const without = replayInstanceLog(zeroPcr('sha256'), entries);
    let broken: Error | undefined;
    if (pending !== undefined && equalBytes(replayInstanceLog(without, [pending], entries.length), value)) {
      // The crash came after the extend: the entry happened.
      await file.appendFile(`${JSON.stringify({ commit: pending.seq })}\n`);
      await file.sync();
      entries.push(pending);
    } else if (!equalBytes(without, value)) {
      broken = diverged();
    }
    return new InstanceLog(tpm, resetCount, file, entries, broken);
  }

  /** All entries of this boot. */
  get entries(): readonly InstanceEntry[] {
    return this.#entries;
  }

  /** The containers that exist by the log. */
  get containers(): ReadonlyMap<string, LoggedContainer> {
    return this.#containers;
  }

  /** Throws if the log and the TPM do not agree: then nothing may start on this machine until it reboots. */
  requireWhole(): void {
    if (this.#broken !== undefined) throw this.#broken;
  }

  /** Appends an event. When this returns, the event is on disk and in PCR 14: only then may the runtime act. */
  append(event: InstanceEvent): Promise<InstanceEntry> {
    return this.#turns.take(async () => {
      this.requireWhole();
      const entry = { seq: this.#entries.length, salt: toHex(new Uint8Array(randomBytes(32))), event };
      try {
        await this.#write({ intent: entry });
        await this.#tpm.pcrExtend(INSTANCE_PCR, instanceCommitment(entry));
        // COMMIT POINT: the extend. The line below only spares the next start a comparison.
        this.#entries.push(entry);
        this.#containers = runningInstances([entry], this.#containers);
        await this.#write({ commit: entry.seq });
        for (const heard of this.#listeners) heard();
        return entry;
      } catch (error) {
        // Whether the extend happened is unknown now; the next start finds out.
        this.#broken = agentError(
          'INSTANCE_LOG_DIVERGED',
          'An entry of the instance log could not be anchored.',
          {
            hint: 'Restart the agent: it compares log and TPM again.',
            cause: error,
          },
        );
        throw this.#broken;
      }
    });
  }

  /** Calls `heard` after each entry. */
  onEntry(heard: () => void): void {
    this.#listeners.push(heard);
  }

  async close(): Promise<void> {
    await this.#turns.take(() => this.#file.close());
  }

  async #write(line: Static<typeof Line>): Promise<void> {
    await this.#file.appendFile(utf8(`${JSON.stringify(line)}\n`));
    await this.#file.sync();
  }
}

/** Entries that were committed, the one that may not have been, and how long the file is up to its last whole line. */
function parse(bytes: Uint8Array): {
  entries: InstanceEntry[];
  open: InstanceEntry | undefined;
  whole: number;
} {
  const end = bytes.lastIndexOf(0x0a) + 1;
  const entries: InstanceEntry[] = [];
  let pending: InstanceEntry | undefined;
  for (const line of new TextDecoder().decode(bytes.subarray(0, end)).split('\n')) {
    if (line === '') continue;
    const parsed = decodeShape(Line, parseJson(line), 'INSTANCE_LOG_CORRUPT', 'A line of the instance log');
    if ('intent' in parsed) {
      // An intent that was never committed nor extended: the crash came before the extend, and a later one took its place.
      pending = parsed.intent;
    } else if (pending?.seq === parsed.commit && parsed.commit === entries.length) {
      entries.push(pending);
      pending = undefined;
    } else {
      throw agentError('INSTANCE_LOG_CORRUPT', 'The instance log commits an entry that it does not hold.');
    }
  }
  return { entries, open: pending, whole: end };
}

function diverged() {
  return agentError(
    'INSTANCE_LOG_DIVERGED',
    'The instance log does not lead to PCR 14: something was extended, or a line was lost or changed.',
    { pointer: `pcr:${INSTANCE_PCR}`, hint: 'Nothing is started here until the machine has rebooted.' },
  );
}
