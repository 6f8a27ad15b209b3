import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { agentError } from './error.ts';

/**
 * Holds a state folder for one agent. SQLite's file lock is the kernel's: it ends with the process, however that ends,
 * so no stale lock is ever left to be argued about.
 */
export function lockState(stateDir: string): { release(): void } {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(join(stateDir, 'lock.sqlite'));
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw agentError('AGENT_BUSY', 'Another agent works with this state folder.', {
      hint: 'One agent for each TPM and state folder. Stop the other one first.',
      cause,
    });
  }
  return { release: () => database.close() };
}
