import type { Transport } from '../../src/index.ts';

/** Someone on the bus between us and a TPM: keeps all that goes by, and may alter it. */
export class Interposer implements Transport {
  readonly #tpm: Transport;
  readonly #seen: Uint8Array[] = [];
  alterCommand: (command: Uint8Array) => Uint8Array = (command) => command;
  alterResponse: (response: Uint8Array, command: Uint8Array) => Uint8Array = (response) => response;

  constructor(tpm: Transport) {
    this.#tpm = tpm;
  }

  async send(command: Uint8Array): Promise<Uint8Array> {
    const sent = this.alterCommand(command.slice());
    const response = await this.#tpm.send(sent);
    this.#seen.push(command, response);
    return this.alterResponse(response.slice(), command);
  }

  close(): Promise<void> {
    return this.#tpm.close();
  }

  /** How many commands went by. */
  get commands(): number {
    return this.#seen.length / 2;
  }

  /** Did these bytes go by, in any command or response? */
  saw(bytes: Uint8Array): boolean {
    return this.#seen.some((message) => Buffer.from(message).includes(Buffer.from(bytes)));
  }

  forget(): void {
    this.#seen.length = 0;
    this.alterCommand = (command) => command;
    this.alterResponse = (response) => response;
  }
}

/** The command code of a command. */
export function codeOfCommand(command: Uint8Array): number {
  return Buffer.from(command).readUInt32BE(6);
}

/** A copy with one bit of one byte turned; counts from the end where `at` is negative. */
export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}
