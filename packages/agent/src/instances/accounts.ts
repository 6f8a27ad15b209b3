import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
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

/** Longest /etc/passwd or /etc/group that is read, in bytes. */
const MAX_BYTES = 1024 * 1024;
/** Engines take no uid or gid above. */
const MAX_ID = 0x7fff_ffff;

/**
 * Throws unless the process runs as who the image's user is in the image's own files. Call it after those were compared
 * with the file manifest.
 */
export async function checkAccount(
  approved: Pick<Approved, 'root' | 'user' | 'home'>,
  imageUser: string,
): Promise<void> {
  const { root, user, home } = approved;
  const account = accountOf(imageUser, await table(root, 'passwd'), await table(root, 'group'));
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

/**
 * As engines do (runc's libcontainer/user, GetExecUser): undefined where they would refuse. The first line that fits
 * counts. Where they take an id that is no number for 0, which is root, this is stricter: then it is nobody.
 */
function accountOf(
  imageUser: string,
  passwd: readonly string[][],
  group: readonly string[][],
): Account | undefined {
  const [user = '', groupName = ''] = imageUser.split(':');
  const entry = passwd.find(([name, , uid]) =>
    user === '' ? idOf(uid) === 0 : isNumber(user) ? idOf(uid) === Number(user) : name === user,
  );
  // Without a line, a number is a user of its own, and so is root.
  const [uid, gid] =
    entry !== undefined
      ? [idOf(entry[2]), idOf(entry[3])]
      : [user === '' || user === 'root' ? 0 : idOf(user), 0];
  if (uid === undefined || gid === undefined) return undefined;
  const home = entry?.[5];
  if (groupName === '') {
    const [name] = entry ?? [];
    const groups = group
      .filter(([, , , members = '']) => name !== undefined && members.split(',').includes(name))
      .flatMap(([, , id]) => idOf(id) ?? []);
    return { uid, gid, groups, home };
  }
  const named = group.find(([name, , id]) =>
    isNumber(groupName) ? idOf(id) === Number(groupName) : name === groupName,
  );
  const asked = idOf(named === undefined ? groupName : named[2]);
  return asked === undefined ? undefined : { uid, gid: asked, groups: [], home };
}

/** The lines of a file in the root's /etc, by their fields; none where there is no such file. */
async function table(root: string, name: string): Promise<string[][]> {
  // Attack: /etc, or the file in it, is a link to the machine's own. So each step is opened by itself and none followed.
  const etc = await opened(join(root, 'etc'), constants.O_DIRECTORY, name);
  if (etc === undefined) return [];
  try {
    // Not blocking: a pipe in the file's place would keep whoever opens it waiting.
    const file = await opened(`/proc/self/fd/${etc.fd}/${name}`, constants.O_NONBLOCK, name);
    if (file === undefined) return [];
    try {
      return (await contents(file, name))
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
        .map((line) => line.split(':'));
    } finally {
      await file.close();
    }
  } finally {
    await etc.close();
  }
}

async function opened(path: string, flag: number, name: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | flag);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw unreadable(name, error);
  }
}

async function contents(file: FileHandle, name: string): Promise<string> {
  const stats = await file.stat();
  // Attack: a file so long that only a part of it is read, of which the last line is cut into another number.
  if (!stats.isFile() || stats.size > MAX_BYTES) throw unreadable(name);
  return new TextDecoder().decode(await file.readFile());
}

function unreadable(name: string, cause?: unknown) {
  return agentError(
    'INSTANCE_CONFIG_USER',
    `The image’s /etc/${name} can’t be read: it is not a file of at most ${MAX_BYTES / 1024} KiB, or a link leads to it.`,
    { pointer: `file:/etc/${name}`, cause },
  );
}

/** An id as such a file writes it; undefined where it is none that a user or group may have. */
function idOf(text: string | undefined): number | undefined {
  return text !== undefined && isNumber(text) && Number(text) <= MAX_ID ? Number(text) : undefined;
}

function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}
