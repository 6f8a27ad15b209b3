import { type FileHandle, open } from 'node:fs/promises';
import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import { MAX_RESPONSE, type Transport } from './transport.ts';

/** A TPM behind a character device: one write is a command, one read its response. */
export class DeviceTransport implements Transport {
  readonly #path: string;
  readonly #timeoutMs: number;
  #file: FileHandle | undefined;

  constructor(path: string, timeoutMs: number) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
  }

  async send(command: Uint8Array): Promise<Uint8Array> {
    this.#file ??= await this.#open();
    const file = this.#file;
    const response = exchange(file, command);
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new KallioError<TpmCode>(
              'TPM_STALLED',
              `The TPM did not answer within ${this.#timeoutMs / 1000} s.`,
              {
                hint: 'A TPM may stall for 10 s in a self-test; one that stalls longer needs a restart of the machine.',
              },
            ),
          ),
        this.#timeoutMs,
      );
    });
    try {
      return await Promise.race([response, stalled]);
    } catch (error) {
      // The late answer of a stalled command must not be read as the next one's: start over with a new file.
      this.#file = undefined;
      response.catch(() => undefined).finally(() => file.close().catch(() => undefined));
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #open(): Promise<FileHandle> {
    try {
      return await open(this.#path, 'r+');
    } catch (cause) {
      throw new KallioError<TpmCode>('TPM_UNREACHABLE', `The TPM device ${this.#path} can’t be opened.`, {
        hint: 'Is there a TPM, and may this user read and write its device (group tss)? /dev/tpm0 serves one program only.',
        cause,
      });
    }
  }
}

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
