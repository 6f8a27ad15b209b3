import { writeSync } from 'node:fs';
import type { Streams } from './output.ts';

/** This process's own. */
export function processStreams(): Streams {
  process.stdout.on('error', closed);
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    get isTerminal() {
      return process.stderr.isTTY === true;
    },
  };
}

/**
 * The same for who has little to say, and ends right after: written at once, without the streams that Node would make
 * first, which takes a twentieth of a short command's time.
 */
export function directStreams(): Streams {
  return {
    out: (text) => writeNow(1, text),
    err: (text) => writeNow(2, text),
    get isTerminal() {
      return process.stderr.isTTY === true;
    },
  };
}

function writeNow(file: 1 | 2, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(file, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Whoever else has this pipe wants no one to wait at it, and its reader is slower than this.
      if (code === 'EAGAIN') Atomics.wait(PAUSE, 0, 0, 1);
      else if (file === 1) closed(error as NodeJS.ErrnoException);
      else return;
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** `kallio … | head` closes the pipe: there is nobody left to tell. */
function closed(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
}
