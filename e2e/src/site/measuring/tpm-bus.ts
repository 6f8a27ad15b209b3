import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

const LENGTH_AT = 2;
const HEADER = 10;

/** Lets several programs use one software TPM, a command at a time: agent and kernel share a TPM on a real machine too. */
export class TpmBus {
  readonly #server: Server;
  readonly #tpm: string;
  readonly #clients = new Set<Socket>();
  #chip: Socket | undefined;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(tpm: string) {
    this.#tpm = tpm;
    this.#server = createServer((client) => {
      this.#clients.add(client);
      let pending = Buffer.alloc(0);
      client.on('data', (chunk: Buffer) => {
        pending = Buffer.concat([pending, chunk]);
        for (let command = whole(pending); command !== undefined; command = whole(pending)) {
          pending = pending.subarray(command.length);
          const sent = command;
          this.#last = this.#last
            .then(() => this.#exchange(sent))
            .then(
              (response) => client.write(response),
              () => client.destroy(),
            );
        }
      });
      client.on('error', () => client.destroy());
      client.on('close', () => this.#clients.delete(client));
    });
  }

  /** Listens at `path`, in front of the software TPM that listens at `tpm`. */
  static async open(path: string, tpm: string): Promise<TpmBus> {
    const bus = new TpmBus(tpm);
    await rm(path, { force: true });
    bus.#server.listen(path);
    await once(bus.#server, 'listening');
    return bus;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    this.#chip?.destroy();
    this.#chip = undefined;
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #exchange(command: Buffer): Promise<Buffer> {
    if (this.#chip === undefined || this.#chip.destroyed) {
      this.#chip = connect(this.#tpm);
      await once(this.#chip, 'connect');
    }
    const chip = this.#chip;
    chip.write(command);
    let answer = Buffer.alloc(0);
    for (;;) {
      const [chunk] = (await once(chip, 'data')) as [Buffer];
      answer = Buffer.concat([answer, chunk]);
      const response = whole(answer);
      if (response !== undefined) return response;
    }
  }
}

/** The first whole command or response: its length stands in its header. */
function whole(bytes: Buffer): Buffer | undefined {
  if (bytes.length < HEADER) return undefined;
  const length = bytes.readUInt32BE(LENGTH_AT);
  return bytes.length < length ? undefined : bytes.subarray(0, length);
}
