import { Writer } from '@kallio/codec';
import type { Transport } from '../../src/index.ts';

/** A TPM that answers what the script says, in order, and keeps the commands. */
export class Scripted implements Transport {
  readonly commands: Uint8Array[] = [];
  readonly #answers: (Uint8Array | Error)[];
  closed = false;

  constructor(...answers: readonly (Uint8Array | Error)[]) {
    this.#answers = [...answers];
  }

  async send(command: Uint8Array): Promise<Uint8Array> {
    this.commands.push(command);
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error('the script has no further answer');
    if (answer instanceof Error) throw answer;
    return answer;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

/** A response without sessions. */
export function answer(code: number, body: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new Writer()
    .u16(0x8001)
    .u32(10 + body.length)
    .u32(code)
    .bytes(body)
    .finish();
}
