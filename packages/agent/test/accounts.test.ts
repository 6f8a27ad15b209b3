import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KallioError } from '@kallio/codec';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkAccount } from '../src/instances/accounts.ts';

const PASSWD = [
  'root:x:0:0:root:/root:/bin/sh',
  'app:x:1000:1001:The app:/srv/app:/bin/sh',
  'app:x:0:0:Its second line:/root:/bin/sh',
  'other:x:1002:1002::/home/other:/bin/sh',
  '',
].join('\n');
const GROUP = ['root:x:0:root', 'app:x:1001:', 'video:x:44:app,other', 'shadow:x:42:other', ''].join('\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kallio-accounts-'));
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/passwd'), PASSWD);
  writeFileSync(join(root, 'etc/group'), GROUP);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Run {
  readonly uid: number;
  readonly gid: number;
  readonly also?: number[];
  readonly home?: string;
}

/** What is said of a process that runs so, of an image with that user; undefined where it passes. */
async function said(imageUser: string, { uid, gid, also, home }: Run): Promise<KallioError | undefined> {
  const user = { uid, gid, ...(also === undefined ? {} : { additionalGids: also }) };
  try {
    await checkAccount({ root, user, home }, imageUser);
    return undefined;
  } catch (error) {
    if (error instanceof KallioError) return error;
    throw error;
  }
}
const codeOf = async (imageUser: string, run: Run) => (await said(imageUser, run))?.code;

describe('a process runs as the image’s user', () => {
  it.each<[string, Run]>([
    ['', { uid: 0, gid: 0, home: '/root' }],
    ['', { uid: 0, gid: 0, also: [0], home: '/root' }],
    ['root', { uid: 0, gid: 0 }],
    ['0', { uid: 0, gid: 0 }],
    ['0:0', { uid: 0, gid: 0 }],
    ['app', { uid: 1000, gid: 1001, also: [44], home: '/srv/app' }],
    ['app:', { uid: 1000, gid: 1001, also: [44, 1001] }],
    ['app:video', { uid: 1000, gid: 44 }],
    ['app:44', { uid: 1000, gid: 44 }],
    ['app:7', { uid: 1000, gid: 7 }],
    ['1000', { uid: 1000, gid: 1001, also: [44], home: '/srv/app' }],
    ['01000', { uid: 1000, gid: 1001 }],
    ['4000', { uid: 4000, gid: 0, home: '/' }],
    ['4000:4001', { uid: 4000, gid: 4001 }],
    ['2147483647', { uid: 0x7fff_ffff, gid: 0 }],
  ])('%j, as an engine finds it', async (imageUser, run) => {
    expect(await codeOf(imageUser, run)).toBeUndefined();
  });

  it.each<[string, string, Run]>([
    ['as root', 'app', { uid: 0, gid: 0 }],
    ['as the second line of its name', 'app', { uid: 0, gid: 1001 }],
    ['as another user', 'app', { uid: 1002, gid: 1001 }],
    ['in root’s group', 'app', { uid: 1000, gid: 0 }],
    ['in its own group, where the image names another', 'app:video', { uid: 1000, gid: 1001 }],
    ['in a group that it is not in', 'app', { uid: 1000, gid: 1001, also: [44, 42] }],
    [
      'in its groups besides, where the image names one group only',
      'app:app',
      { uid: 1000, gid: 1001, also: [44] },
    ],
    ['in root’s group, of a user without a line', '4000', { uid: 4000, gid: 0, also: [42] }],
    ['as nobody that there is', 'ghost', { uid: 0, gid: 0 }],
    ['in no group that there is', 'app:ghost', { uid: 1000, gid: 1001 }],
    ['as a number that is none: 0x0', '0x0', { uid: 0, gid: 0 }],
    ['as a number that is none: +0', '+0', { uid: 0, gid: 0 }],
    ['as a number that is none: 1e3', '1e3', { uid: 1000, gid: 1001 }],
    ['as a number with a space before it', ' 0', { uid: 0, gid: 0 }],
    ['as a number that wraps round to root', '4294967296', { uid: 0, gid: 0 }],
    ['as that number itself', '4294967296', { uid: 4_294_967_296, gid: 0 }],
    ['as the number that means no change', '4294967295', { uid: 0xffff_ffff, gid: 0 }],
    ['in the group that means no change', '1000:4294967295', { uid: 1000, gid: 0xffff_ffff }],
  ])('and is refused %s', async (_, imageUser, run) => {
    expect(await codeOf(imageUser, run)).toBe('INSTANCE_CONFIG_USER');
  });

  it('and is refused with a home of somebody else’s choice', async () => {
    const run = { uid: 1000, gid: 1001 };
    expect(await codeOf('app', { ...run, home: '/tmp/attacker' })).toBe('INSTANCE_CONFIG_ENVIRONMENT');
    expect(await codeOf('4000', { uid: 4000, gid: 0, home: '/root' })).toBe('INSTANCE_CONFIG_ENVIRONMENT');
    expect(await codeOf('app', { ...run, home: '/srv/app' })).toBeUndefined();
  });

  it('and the refusal says whether it is for the user or for the groups besides', async () => {
    expect((await said('app', { uid: 1000, gid: 0 }))?.pointer).toBe('/process/user');
    const besides = { uid: 1000, gid: 1001, also: [42] };
    expect((await said('app', besides))?.pointer).toBe('/process/user/additionalGids');
  });
});

describe('lines that two readers could take differently', () => {
  // Engines take an id that is no number for 0: root.
  it.each(['0x3e8', '1e3', '+1000', '-1', ' 1000', '1000 ', '', '99999999999', '4294967296'])(
    'give nobody: the uid %j',
    async (uid) => {
      const passwd = (id: string) =>
        writeFileSync(join(root, 'etc/passwd'), `odd:x:${id}:1000::/odd:/bin/sh\n`);
      passwd(uid);
      for (const as of [0, 1000]) {
        expect(await codeOf('odd', { uid: as, gid: 1000 }), `as ${as}`).toBe('INSTANCE_CONFIG_USER');
      }
      passwd('1000');
      expect(await codeOf('odd', { uid: 1000, gid: 1000 })).toBeUndefined();
    },
  );

  it('give nobody: a line that is cut', async () => {
    writeFileSync(join(root, 'etc/passwd'), 'cut:x:1000\n');
    expect(await codeOf('cut', { uid: 1000, gid: 0 })).toBe('INSTANCE_CONFIG_USER');
  });

  it('are the first of them: of two users or groups of one name or number', async () => {
    writeFileSync(join(root, 'etc/group'), 'twice:x:5:\ntwice:x:6:\n');
    expect(await codeOf('app:twice', { uid: 1000, gid: 5 })).toBeUndefined();
    expect(await codeOf('app:twice', { uid: 1000, gid: 6 })).toBe('INSTANCE_CONFIG_USER');
  });

  it('are no groups for a user whose name another’s begins with', async () => {
    writeFileSync(join(root, 'etc/group'), 'wheel:x:10:app2,2app\n');
    expect(await codeOf('app', { uid: 1000, gid: 1001, also: [10] })).toBe('INSTANCE_CONFIG_USER');
    writeFileSync(join(root, 'etc/group'), 'wheel:x:10:app2,app\n');
    expect(await codeOf('app', { uid: 1000, gid: 1001, also: [10] })).toBeUndefined();
  });

  it('are named refusals or accounts, whatever stands in them', async () => {
    const line = fc.array(
      fc.constantFrom('app', 'x', '0', '1000', ':', ':', '\n', '#', '\0', '0x0', ' ', ','),
      {
        maxLength: 40,
      },
    );
    await fc.assert(
      fc.asyncProperty(
        line,
        line,
        fc.constantFrom('', 'app', '1000', 'app:app'),
        async (passwd, group, user) => {
          writeFileSync(join(root, 'etc/passwd'), passwd.join(''));
          writeFileSync(join(root, 'etc/group'), group.join(''));
          expect([undefined, 'INSTANCE_CONFIG_USER']).toContain(await codeOf(user, { uid: 1000, gid: 1000 }));
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the image’s own files are read', () => {
  const honest = { uid: 1000, gid: 1001 };
  afterEach(async () => {
    // The honest twin: the same files where they should be.
    rmSync(join(root, 'etc'), { recursive: true, force: true });
    mkdirSync(join(root, 'etc'));
    writeFileSync(join(root, 'etc/passwd'), PASSWD);
    writeFileSync(join(root, 'etc/group'), GROUP);
    expect(await codeOf('app', honest)).toBeUndefined();
  });

  it('and no others: /etc is a link to the machine’s, or anywhere else', async () => {
    const elsewhere = join(root, 'elsewhere');
    for (const target of ['/etc', 'elsewhere', elsewhere]) {
      rmSync(join(root, 'etc'), { recursive: true, force: true });
      mkdirSync(elsewhere, { recursive: true });
      writeFileSync(join(elsewhere, 'passwd'), PASSWD);
      symlinkSync(target, join(root, 'etc'));
      expect(await said('app', honest), target).toMatchObject({
        code: 'INSTANCE_CONFIG_USER',
        pointer: 'file:/etc/passwd',
      });
    }
  });

  it('and no others: a file is a link', async () => {
    writeFileSync(join(root, 'etc/real'), PASSWD);
    rmSync(join(root, 'etc/passwd'));
    symlinkSync('real', join(root, 'etc/passwd'));
    expect(await codeOf('app', honest)).toBe('INSTANCE_CONFIG_USER');
  });

  it('and nobody waits for a pipe, or takes a folder for a file', async () => {
    rmSync(join(root, 'etc/passwd'));
    execFileSync('mkfifo', [join(root, 'etc/passwd')]);
    expect(await codeOf('app', honest)).toBe('INSTANCE_CONFIG_USER');
    rmSync(join(root, 'etc/passwd'));
    mkdirSync(join(root, 'etc/passwd'));
    expect(await codeOf('app', honest)).toBe('INSTANCE_CONFIG_USER');
  });

  it('whole or not at all: a huge one is refused, not cut', async () => {
    const filler = 'x:x:9:9::/:/bin/sh\n';
    const line = 'late:x:1000:10:::\n';
    const fill = (bytes: number) => filler.repeat(Math.floor(bytes / filler.length));
    writeFileSync(join(root, 'etc/passwd'), `${fill(1024 * 1024)}${filler}${line}`);
    expect(await codeOf('late', { uid: 1000, gid: 10 })).toBe('INSTANCE_CONFIG_USER');
    writeFileSync(join(root, 'etc/passwd'), `${fill(1_000_000)}${line}`);
    expect(await codeOf('late', { uid: 1000, gid: 10 })).toBeUndefined();
  });

  it('where there are none, a number stands for itself and no name for anybody but root', async () => {
    rmSync(join(root, 'etc'), { recursive: true });
    expect(await codeOf('4000', { uid: 4000, gid: 0, home: '/' })).toBeUndefined();
    expect(await codeOf('', { uid: 0, gid: 0, home: '/' })).toBeUndefined();
    expect(await codeOf('root', { uid: 0, gid: 0 })).toBeUndefined();
    expect(await codeOf('app', honest)).toBe('INSTANCE_CONFIG_USER');
  });
});
