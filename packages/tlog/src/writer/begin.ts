import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { canonicalBytes, equalBytes, parseJson, utf8 } from '@kallio/codec';
import { checkpointText } from '../checkpoint.ts';
import { tlogError } from '../error.ts';
import { emptyRoot } from '../hash.ts';
import type { Disk } from './disk.ts';
import { LogReader } from './layout.ts';

/** Which log a directory holds. */
export interface LogIdentity {
  readonly origin: string;
  readonly logId: string;
}

/**
 * Makes an empty log in a directory, or makes sure that the one there is this log: another key or name would sign
 * other heads of the same sizes. The empty head is written before the identity, so a directory that has its identity
 * and no head has lost it.
 */
export async function beginLog(directory: string, disk: Disk, identity: LogIdentity): Promise<void> {
  const wanted = canonicalBytes({ format: 'kallio-log-v1', logId: identity.logId, origin: identity.origin });
  const found = new LogReader(directory).text('log.json');
  if (found !== undefined) {
    if (equalBytes(canonicalBytes(parseJson(found)), wanted)) return;
    throw tlogError('LOG_KEY_UNKNOWN', 'This directory holds the log of another key or name.', {
      pointer: 'log.json',
    });
  }
  if (existsSync(join(directory, 'tile'))) {
    throw tlogError('LOG_CORRUPT', 'This directory holds tiles but does not say of which log.', {
      pointer: 'log.json',
    });
  }
  const empty = checkpointText({ origin: identity.origin, size: 0, root: emptyRoot() });
  await replaceFile(disk, join(directory, 'head'), utf8(empty));
  await replaceFile(disk, join(directory, 'log.json'), wanted);
  await disk.sync(directory);
  await disk.sync(dirname(directory));
}

/** Puts a whole file in place of another. The bytes are durable; the name is once the directory is synced. */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  await disk.create(`${path}.tmp`, bytes);
  await disk.sync(`${path}.tmp`);
  await disk.rename(`${path}.tmp`, path);
}
