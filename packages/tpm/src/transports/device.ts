import { type FileHandle, open } from 'node:fs/promises';
import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import { MAX_RESPONSE, stall, type Transport } from './transport.ts';

/** A TPM behind a character device: one write is a command, one read its response. */
export class DeviceTransport implements Transport {
  readonly #path: string;
  readonly #timeoutMs: number;
  #file: FileHandle | undefined;
  /** Settles when the device lets go of a command that was given up. */
  #stuck: Promise<void> | undefined;

  constructor(path: string, timeoutMs: number) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
  }

  async send(command: Uint8Array): Promise<Uint8Array> {
    // A command that hangs keeps one of this process's few threads for files. Another would keep another one, until
    // nothing in this process could read or write a file any more.
    if (this.#stuck !== undefined) await this.#inTime(this.#stuck);
    this.#file ??= await this.#open();
    const file = this.#file;
    const response = exchange(file, command);
    try {
      return await this.#inTime(response);
    } catch (error) {
      // The late answer of a stalled command must not be read as the next one's: start over with a new file.
      this.#file = undefined;
      const over = () => file.close().catch(() => undefined);
      const stuck = response.then(over, over).finally(() => {
        if (this.#stuck === stuck) this.#stuck = undefined;
      });
      this.#stuck = stuck;
      throw error;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(stall(this.#timeoutMs)), this.#timeoutMs);
    });
    try {
      return await Promise.race([work, stalled]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #open(): Promise<FileHandle> {
    try {
      return await open(this.#path, 'r+');
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
      const [why, hint] = UNOPENED.get(code) ?? [
        code,
        'The kernel log may say what is wrong with the device.',
      ];
      throw new KallioError<TpmCode>(
        'TPM_UNREACHABLE',
        `The TPM device ${this.#path} can’t be opened: ${why}.`,
        {
          hint,
          cause,
        },
      );
    }
  }
}

type Cause = readonly [why: string, hint: string];
const MAY_NOT: Cause = ['this user may not', 'Run as root, or as a member of the group tss.'];
/** Why a device can't be opened, and what to do about it, by the system's code. */
const UNOPENED: ReadonlyMap<string, Cause> = new Map([
  [
    'ENOENT',
    ['there is no such device', 'Is the TPM switched on in the firmware set-up, and its driver loaded?'],
  ],
  ['EACCES', MAY_NOT],
  ['EPERM', MAY_NOT],
  ['EBUSY', ['another program has it', 'Use /dev/tpmrm0, which serves many programs, or end the other one.']],
  ['ENODEV', ['no TPM is behind it', 'Is the TPM switched on in the firmware set-up?']],
]);

async function exchange(file: FileHandle, command: Uint8Array): Promise<Uint8Array> {
  try {
    await file.write(command);
    const { buffer, bytesRead } = await file.read(new Uint8Array(MAX_RESPONSE), 0, MAX_RESPONSE, null);
    if (bytesRead > 0) return buffer.slice(0, bytesRead);
  } catch (cause) {
    throw lost(cause);
  }
  throw lost();
}

function lost(cause?: unknown): KallioError {
  return new KallioError<TpmCode>('TPM_DISCONNECTED', 'The TPM device broke off during a command.', {
    hint: 'Whether the command took effect is unknown. The kernel log may say what happened to the device.',
    cause,
  });
}
