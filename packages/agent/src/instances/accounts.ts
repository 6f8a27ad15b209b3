import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { agentError } from '../error.ts';
import type { Approved } from './config-check.ts';

/** Who an image's user is, by the image's own /etc/passwd and /etc/group. */
interface Account {
  readonly uid: number;
  readonly gid: number;
  /** Groups that the user is in besides. */
  readonly groups: readonly number[];
  readonly home: string | undefined;
}

const MAX_BYTES = 1024 * 1024;

/**
 * Throws unless the process runs as who the image's user is in the image's own files. Call it after those were compared
 * with the file manifest.
 */
export async function checkAccount(approved: Approved, imageUser: string): Promise<void> {
  const { root, user, home } = approved;
  const account = resolve(imageUser, await table(root, 'passwd'), await table(root, 'group'));
  // Attack: a user given by name, run as another one; or in groups that own what this one may not read.
  const inGroups = (user.additionalGids ?? []).every(
    (gid) => gid === account?.gid || account?.groups.includes(gid) === true,
  );
  if (account === undefined || user.uid !== account.uid || user.gid !== account.gid || !inGroups) {
    throw agentError(
      'INSTANCE_CONFIG_USER',
      'The user and its groups are not those of the signed image’s files.',
      { pointer: inGroups ? '/process/user' : '/process/user/additionalGids' },
    );
  }
  // Attack: a program reads its settings from a home folder of the attacker's choice.
  if (home !== undefined && home !== (account.home ?? '/')) {
    throw agentError('INSTANCE_CONFIG_ENVIRONMENT', 'HOME is not the home of the signed image’s user.', {
      pointer: '/process/env',
    });
  }
}

/** As engines do (runc's libcontainer/user, GetExecUser): undefined where they would refuse. */
function resolve(
  imageUser: string,
  passwd: readonly string[][],
  group: readonly string[][],
): Account | undefined {
  const [user = '', groupName = ''] = imageUser.split(':');
  const entry = passwd.find(([name, , uid]) =>
    user === '' ? uid === '0' : isNumber(user) ? Number(uid) === Number(user) : name === user,
  );
  if (entry === undefined && user !== '' && user !== 'root' && !isNumber(user)) return undefined;
  const uid = entry === undefined ? Number(isNumber(user) ? user : 0) : Number(entry[2]);
  const home = entry?.[5];
  if (groupName === '') {
    const groups = group
      .filter(([, , , members = '']) => entry !== undefined && members.split(',').includes(entry[0] ?? ''))
      .map(([, , gid]) => Number(gid));
    return { uid, gid: Number(entry?.[3] ?? 0), groups, home };
  }
  const named = group.find(([name, , gid]) =>
    isNumber(groupName) ? Number(gid) === Number(groupName) : name === groupName,
  );
  if (named === undefined && !isNumber(groupName)) return undefined;
  return { uid, gid: Number(named?.[2] ?? groupName), groups: [], home };
}

/** The lines of a file in the root's /etc, by their fields. Its last step is not followed where it is a link. */
async function table(root: string, name: string): Promise<string[][]> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(join(root, 'etc', name), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw agentError('INSTANCE_CONFIG_USER', `The image’s /etc/${name} can’t be read.`, { cause: error });
  }
  try {
    const { buffer, bytesRead } = await file.read({ buffer: new Uint8Array(MAX_BYTES), position: 0 });
    return new TextDecoder()
      .decode(buffer.subarray(0, bytesRead))
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(':'));
  } finally {
    await file.close();
  }
}

function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}
