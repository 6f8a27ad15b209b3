import { COMMANDS } from '../../src/commands/all.ts';
import { runProgram } from '../../src/program.ts';

/** What a command line came to. */
export interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process. */
export async function run(...args: string[]): Promise<Ran> {
  let out = '';
  let err = '';
  const exit = await runProgram(COMMANDS, args, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTerminal: false,
  });
  return { exit, out, err };
}
