import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** Notes pid and start time, then becomes the command: whoever is killed meanwhile, the note is there. */
const RECORDED = 'echo "$$ $(cut -d " " -f 22 /proc/$$/stat)" >"$0"; exec "$@"';

/**
 * A process that outlives the command that started it. Its pid file names the process for certain: pid and start time,
 * so that another process that was given the same number later is never taken for it.
 */
export class Daemon {
  readonly name: string;
  readonly #pidFile: string;
  readonly #logFile: string;

  constructor(name: string, dir: string) {
    this.name = name;
    this.#pidFile = join(dir, `${name}.pid`);
    this.#logFile = join(dir, `${name}.log`);
  }

  /** Starts it and waits until `ready` holds; one that ends before is an error with the end of its log. */
  async start(
    command: string,
    args: readonly string[],
    ready: () => boolean | Promise<boolean>,
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const log = openSync(this.#logFile, 'a');
    rmSync(this.#pidFile, { force: true });
    const child = spawn('sh', ['-c', RECORDED, this.#pidFile, command, ...args], {
      stdio: ['ignore', log, log],
      detached: true,
      env: { ...process.env, ...env },
    });
    closeSync(log);
    child.unref();
    const deadline = Date.now() + 60_000;
    while (!(this.running && (await ready()))) {
      const ended = child.exitCode !== null || child.signalCode !== null;
      if (ended || Date.now() > deadline) {
        await this.stop('SIGKILL');
        throw new Error(`${this.name} did not come up:\n${this.tail()}`);
      }
      await wait(50);
    }
  }

  get pid(): number | undefined {
    if (!existsSync(this.#pidFile)) return undefined;
    const [pid = '', started = ''] = readFileSync(this.#pidFile, 'utf8').trim().split(' ');
    return started !== '' && startTime(Number(pid)) === started ? Number(pid) : undefined;
  }

  get running(): boolean {
    return this.pid !== undefined;
  }

  /** The last lines it printed. */
  tail(lines = 15): string {
    if (!existsSync(this.#logFile)) return '';
    return readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Ends it, after ten seconds for certain, and waits until it is gone. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const pid = this.pid;
    if (pid !== undefined) {
      process.kill(pid, signal);
      const hard = Date.now() + 10_000;
      while (this.running) {
        if (Date.now() > hard) process.kill(pid, 'SIGKILL');
        await wait(20);
      }
    }
    rmSync(this.#pidFile, { force: true });
  }

  /** Waits until it has ended by itself. */
  async ended(seconds: number): Promise<boolean> {
    for (const deadline = Date.now() + seconds * 1000; this.running; await wait(100)) {
      if (Date.now() > deadline) return false;
    }
    return true;
  }
}

/** When a process was started, in clock ticks since boot (proc(5), field 22 of stat); a zombie has ended. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
