import { once } from 'node:events';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { concat, KallioError, Reader, Writer } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import { MAX_RESPONSE, stall, type Transport } from './transport.ts';

/** How commands and responses are laid in a byte stream. */
export interface Framing {
  frame(command: Uint8Array): Uint8Array;
  /** The response in `received`, once it is whole. */
  unframe(received: Uint8Array): Uint8Array | undefined;
  /** Sent before the connection is closed. */
  readonly goodbye?: Uint8Array;
}

/** swtpm takes bare commands; a response says its own length in bytes 2 to 5 (Part 3 section 4.3, responseSize). */
export const BARE: Framing = {
  frame: (command) => command,
  unframe: (received) => {
    if (received.length < 10) return undefined;
    const size = sized(new Reader(received.subarray(2)).u32());
    return received.length < size ? undefined : received.subarray(0, size);
  },
};

const MSSIM_SEND_COMMAND = 8;
const MSSIM_SESSION_END = 20;

/** The Microsoft simulator: u32 8, u8 locality, u32 length, command; u32 length, response, u32 0. */
export const MSSIM: Framing = {
  frame: (command) => new Writer().u32(MSSIM_SEND_COMMAND).u8(0).u32(command.length).bytes(command).finish(),
  unframe: (received) => {
    if (received.length < 4) return undefined;
    const size = sized(new Reader(received).u32());
    return received.length < size + 8 ? undefined : received.subarray(4, 4 + size);
  },
  goodbye: new Writer(4).u32(MSSIM_SESSION_END).finish(),
};

/** A TPM behind a socket. A lost connection is made again for the next command, never for the one that was lost. */
export class StreamTransport implements Transport {
  readonly #target: NetConnectOpts;
  readonly #framing: Framing;
  readonly #timeoutMs: number;
  #socket: Socket | undefined;

  constructor(target: NetConnectOpts, framing: Framing, timeoutMs: number) {
    this.#target = target;
    this.#framing = framing;
    this.#timeoutMs = timeoutMs;
  }

  async send(command: Uint8Array): Promise<Uint8Array> {
    const socket = await this.#connected();
    try {
      return await this.#exchange(socket, this.#framing.frame(command));
    } catch (error) {
      // What the TPM made of the command is unknown: the connection can't be used for another.
      this.#socket = undefined;
      socket.destroy();
      throw error;
    }
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined || socket.destroyed) return;
    socket.end(this.#framing.goodbye ?? new Uint8Array(0));
    socket.destroySoon();
    if (!socket.closed) await once(socket, 'close');
  }

  async #connected(): Promise<Socket> {
    if (this.#socket !== undefined && !this.#socket.destroyed && this.#socket.writable) return this.#socket;
    const socket = connect(this.#target);
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(this.#timeoutMs) });
    } catch (cause) {
      socket.destroy();
      throw new KallioError<TpmCode>('TPM_UNREACHABLE', 'No TPM answers at this address.', {
        hint: 'Is swtpm running, and does no other program hold its one connection?',
        cause,
      });
    }
    if ('setNoDelay' in socket) socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    this.#socket = socket;
    return socket;
  }

  #exchange(socket: Socket, bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      let received: Uint8Array = new Uint8Array(0);
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        socket.off('data', onData);
        socket.off('close', onClose);
        settle();
      };
      const onData = (chunk: Uint8Array) => {
        received = received.length === 0 ? chunk : concat(received, chunk);
        try {
          const response = this.#framing.unframe(received);
          if (response !== undefined) finish(() => resolve(new Uint8Array(response)));
        } catch (error) {
          finish(() => reject(error));
        }
      };
      const onClose = () =>
        finish(() =>
          reject(
            new KallioError<TpmCode>(
              'TPM_DISCONNECTED',
              'The connection to the TPM was lost during a command.',
              { hint: 'Whether the command took effect is unknown. The next one connects again.' },
            ),
          ),
        );
      const timer = setTimeout(() => finish(() => reject(stall(this.#timeoutMs))), this.#timeoutMs);
      socket.on('data', onData);
      socket.on('close', onClose);
      socket.write(bytes);
    });
  }
}

function sized(size: number): number {
  if (size > MAX_RESPONSE) {
    throw new KallioError<TpmCode>(
      'TPM_RESPONSE_MALFORMED',
      `A TPM response of ${size} bytes is longer than any.`,
    );
  }
  return size;
}
