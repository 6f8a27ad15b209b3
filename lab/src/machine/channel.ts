import { randomBytes } from 'node:crypto';
import { createConnection } from 'node:net';

/** How a script in a machine ended. */
export interface Executed {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A serial line has no flow control: what is sent at once must fit the kernel's buffers. */
const MAX_SCRIPT = 24 * 1024;

/**
 * Runs a shell script in a machine over its second serial port (`lab/image/exec`). Scripts of several callers run one
 * after the other: QEMU serves one connection at a time.
 */
export function execute(socket: string, script: string, timeoutMs: number): Promise<Executed> {
  if (Buffer.byteLength(script) > MAX_SCRIPT) throw new Error('This script is too long for a serial line.');
  const id = randomBytes(8).toString('hex');
  return new Promise((resolve, reject) => {
    const connection = createConnection(socket);
    const timer = setTimeout(
      () => end(() => reject(new Error(`No answer in ${timeoutMs / 1000} s.`))),
      timeoutMs,
    );
    const end = (then: () => void) => {
      clearTimeout(timer);
      connection.destroy();
      then();
    };
    const chunks: string[] = [];
    connection.setEncoding('latin1');
    connection.once('connect', () => {
      // An empty line first ends whatever half a line a broken connection left behind.
      connection.write(`\n${id} ${Buffer.from(script).toString('base64')}\n`);
    });
    connection.on('data', (chunk: string) => {
      chunks.push(chunk);
      if (!chunk.includes('\n')) return;
      for (const line of chunks.join('').split('\n').slice(0, -1)) {
        // Before the channel's script has opened the line, the kernel echoes what is sent: that is no answer.
        const [mark, answered, code = '', out = '', err = ''] = line.split(' ');
        if (mark !== '=' || answered !== id) continue;
        const text = (base64: string) => Buffer.from(base64.trim(), 'base64').toString();
        // Where nothing was printed the field is empty, and so is the text.
        end(() => resolve({ code: Number(code), stdout: text(out), stderr: text(err) }));
      }
    });
    connection.once('error', (error) => end(() => reject(error)));
    connection.once('close', () => end(() => reject(new Error('The machine is off.'))));
  });
}
