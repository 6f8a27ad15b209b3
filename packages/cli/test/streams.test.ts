import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/* What a command says through a pipe, in a process of its own. */

/** A command that ends right after it has spoken. */
const SAY = fileURLToPath(new URL('./support/say.ts', import.meta.url));
const say = (...args: readonly string[]) => spawn(process.execPath, [SAY, String(LENGTH), ...args]);

const LENGTH = 1 << 20;

it.each([
  ['whose writer waits', []],
  // Node's stream makes it so for everybody who has this pipe.
  ['whose writer is told to come again', ['shared']],
])('all is said before the process ends, through a pipe %s, however slowly it is read', async (_, shared) => {
  const child = say(...shared, 'out', 'err');
  const read = [0, 0];
  for (const [i, stream] of [child.stdout, child.stderr].entries()) {
    stream.on('data', (piece: Buffer) => {
      read[i] = (read[i] ?? 0) + piece.length;
      stream.pause();
      setTimeout(() => stream.resume(), 2);
    });
  }
  const [code] = await once(child, 'close');
  expect([code, ...read]).toEqual([3, LENGTH, LENGTH]);
});

it('whoever closes the pipe has heard enough: that is no failure', async () => {
  for (const [stream, expected] of [
    ['out', 0],
    ['err', 3],
  ] as const) {
    const child = say('told', stream);
    child.stdout.destroy();
    child.stderr.destroy();
    child.stdin.end('go');
    const [code] = await once(child, 'close');
    expect(code).toBe(expected);
  }
});
