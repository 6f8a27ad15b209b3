import { execFile } from 'node:child_process';

const TIMEOUT_MS = 1_000;

/** Is this machine on its way down (systemd says so), and not only this agent? */
export function isGoingDown(): Promise<boolean> {
  return new Promise((resolve) => {
    // Its exit code is 1 for every state but `running`; without systemd there is none to ask.
    execFile('systemctl', ['is-system-running'], { timeout: TIMEOUT_MS }, (_error, stdout) =>
      resolve(stdout.trim() === 'stopping'),
    );
  });
}
