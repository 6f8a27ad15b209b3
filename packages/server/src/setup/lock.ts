import { DatabaseSync } from 'node:sqlite';
import { KallioError } from '@kallio/codec';
import type { ServerCode } from '../codes.ts';

/**
 * One server per data folder: the log has one writer, and two servers would judge one attester's logs apart. The lock
 * is an exclusive transaction on a database of its own, which the kernel ends with the process, however that dies.
 */
export function lockDataDir(path: string): () => void {
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    db.close();
    throw new KallioError('SERVER_RUNNING' satisfies ServerCode, 'A server is running on this data folder.', {
      hint: 'Stop it first, or use another data folder.',
      cause,
    });
  }
  return () => db.close();
}

/** How long to wait for another process that holds a lock for a moment, in milliseconds. */
const PATIENCE_MS = 10_000;

/** Holds a lock for a moment, once whoever holds it lets it go; gives what lets it go again. */
export function lockFile(path: string): () => void {
  const db = new DatabaseSync(path, { timeout: PATIENCE_MS });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    throw error;
  }
  return () => db.close();
}
