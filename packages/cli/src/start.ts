import { processStreams } from './output/streams.ts';
import { type Commands, runProgram } from './program.ts';

/** Exit codes above say which signal ended a program, as a shell has it. */
const ENDED_BY_SIGNAL = 128;

/** Runs this process's command line. */
export async function start(commands: Commands): Promise<void> {
  const code = await runProgram(commands, process.argv.slice(2), processStreams());
  process.exitCode = code;

  /*
   * A TPM device that is stuck keeps a thread of this process waiting, and a process that ends, also by process.exit,
   * waits for its threads. All has been said by now: another program takes the place of this one, only to give its exit
   * code. Where a signal asked for the end, no question that is still on its way is waited for.
   */
  const leave = () => process.execve?.('/bin/sh', ['sh', '-c', `exit ${code}`]);
  if (code > ENDED_BY_SIGNAL) leave();
  else setTimeout(leave, 2000).unref();
}
