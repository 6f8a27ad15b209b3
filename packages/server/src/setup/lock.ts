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
