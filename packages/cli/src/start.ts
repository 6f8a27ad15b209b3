import { type Commands, runProgram } from './program.ts';

/** Runs this process's command line. */
export async function start(commands: Commands): Promise<void> {
  // `kallio … | head` closes the pipe: there is nobody left to tell.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const code = await runProgram(commands, process.argv.slice(2), {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY === true,
  });
  process.exitCode = code;

  /*
   * A TPM device that is stuck keeps a thread of this process waiting, and a process that ends, also by process.exit,
   * waits for its threads. All has been said by now: another program takes the place of this one, only to give its exit
   * code.
   */
  setTimeout(() => process.execve?.('/bin/sh', ['sh', '-c', `exit ${code}`]), 2000).unref();
}
