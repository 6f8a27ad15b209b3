import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { storedCredentials } from '../src/login/stored.ts';

const SECRET = 'hunter2';
const dir = mkdtempSync(join(tmpdir(), 'kallio-login-'));
const auth = (username: string, password = SECRET) =>
  Buffer.from(`${username}:${password}`).toString('base64');
const known = (username: string) => ({ username, password: SECRET });

let environment: Record<string, string>;
const RUN = join(dir, 'run/containers/auth.json');
const USER = join(dir, 'home/.config/containers/auth.json');
const DOCKER = join(dir, 'home/.docker/config.json');

function put(file: string, content: object | string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
}

function find(registry: string, repository = 'team/app') {
  return storedCredentials(registry, repository, environment);
}

beforeEach(() => {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(join(dir, 'bin'), { recursive: true });
  environment = {
    HOME: join(dir, 'home'),
    XDG_RUNTIME_DIR: join(dir, 'run'),
    PATH: `${join(dir, 'bin')}:${process.env.PATH}`,
  };
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('stored credentials', () => {
  it('are none where nobody logged in', async () => {
    expect(await find('registry.example')).toBeUndefined();
    put(RUN, {});
    put(USER, { auths: { 'other.example': { auth: auth('a') } } });
    expect(await find('registry.example')).toBeUndefined();
  });

  it('are looked for in the files of this run, of the user and of Docker, in this order', async () => {
    put(DOCKER, { auths: { 'registry.example': { auth: auth('docker') } } });
    expect(await find('registry.example')).toEqual(known('docker'));
    put(USER, { auths: { 'registry.example': { auth: auth('user') } } });
    expect(await find('registry.example')).toEqual(known('user'));
    put(RUN, { auths: { 'registry.example': { auth: auth('run') } } });
    expect(await find('registry.example')).toEqual(known('run'));
  });

  it('are looked for in the file that is named, and then in no other', async () => {
    put(RUN, { auths: { 'registry.example': { auth: auth('run') } } });
    environment.REGISTRY_AUTH_FILE = join(dir, 'named.json');
    put(environment.REGISTRY_AUTH_FILE, { auths: { 'other.example': { auth: auth('named') } } });
    expect(await find('other.example')).toEqual(known('named'));
    expect(await find('registry.example')).toBeUndefined();
  });

  it('are those of the nearest part of the registry', async () => {
    put(RUN, {
      auths: {
        'registry.example': { auth: auth('all') },
        'registry.example/team': { auth: auth('team') },
        'registry.example/team/app': { auth: auth('app') },
        'registry.example:5000': { auth: auth('port') },
      },
    });
    expect(await find('registry.example', 'team/app')).toEqual(known('app'));
    expect(await find('registry.example', 'team/apple')).toEqual(known('team'));
    expect(await find('registry.example', 'teams/app')).toEqual(known('all'));
    expect(await find('registry.example:5000', 'team/app')).toEqual(known('port'));
    expect(await find('example', 'team/app')).toBeUndefined();
  });

  it('are found under the names that Docker writes', async () => {
    put(DOCKER, {
      auths: {
        'https://index.docker.io/v1/': { auth: auth('hub') },
        'https://registry.example/v2/': { auth: auth('old') },
        'http://plain.example': { auth: auth('plain') },
      },
      HttpHeaders: { 'User-Agent': 'Docker-Client' },
    });
    expect(await find('docker.io', 'library/debian')).toEqual(known('hub'));
    expect(await find('registry.example')).toEqual(known('old'));
    expect(await find('plain.example')).toEqual(known('plain'));
  });

  it('are found as buildah finds them, and for nobody else', async () => {
    const entry = (username: string) => ({ auth: auth(username) });
    environment.REGISTRY_AUTH_FILE = join(dir, 'auth.json');
    put(environment.REGISTRY_AUTH_FILE, {
      auths: {
        // A repository may be called as the part of an address is.
        'a.example/team/v2': entry('repository'),
        'b.example/v1': entry('repository'),
        // Under its own name before an address of it, whichever stands first.
        'https://c.example/v2/': entry('address'),
        'c.example': entry('name'),
        'd.example': entry('name'),
        'https://d.example/v2/': entry('address'),
        // The nearest entry counts, whatever is in it.
        'e.example/team/app': {},
        'e.example/team': entry('team'),
        'f.example': { auth: auth('', '') },
        'g.example': { auth: auth('zeros', `${SECRET}\0\0`) },
      },
    });
    const names = [
      ['a.example', 'team/app'],
      ['a.example', 'team/v2'],
      ['b.example', 'app'],
      ['b.example', 'v1'],
      ['c.example', 'app'],
      ['d.example', 'app'],
      ['e.example', 'team/app'],
      ['e.example', 'team/other'],
      ['f.example', 'app'],
      ['g.example', 'app'],
    ] as const;
    const found: (string | undefined)[] = [];
    for (const [registry, repository] of names) {
      const credentials = await find(registry, repository);
      if (credentials !== undefined) expect(credentials).toMatchObject({ password: SECRET });
      found.push(credentials && 'username' in credentials ? credentials.username : undefined);
      const { stdout } = spawnSync(
        'buildah',
        ['login', '--get-login', '--authfile', environment.REGISTRY_AUTH_FILE, `${registry}/${repository}`],
        { encoding: 'utf8' },
      );
      expect([registry, repository, stdout.trim() || undefined]).toEqual([
        registry,
        repository,
        found.at(-1),
      ]);
    }
    expect(found).toEqual([
      undefined,
      'repository',
      undefined,
      'repository',
      'name',
      'name',
      undefined,
      'team',
      undefined,
      'zeros',
    ]);
  });

  it('may be a token, and a password may hold anything', async () => {
    put(RUN, {
      auths: {
        'a.example': { auth: auth('someone'), identitytoken: 'an identity' },
        'b.example': { auth: auth('<token>', 'an identity') },
        'c.example': { auth: auth('someone', 'a:b\nö') },
      },
    });
    expect(await find('a.example')).toEqual({ identityToken: 'an identity' });
    expect(await find('b.example')).toEqual({ identityToken: 'an identity' });
    expect(await find('c.example')).toEqual({ username: 'someone', password: 'a:b\nö' });
  });
});

describe('a program that keeps credentials', () => {
  /** Answers only to whom it is asked for, and says what it was asked. */
  function helper(name: string, answer: string, code = 0): void {
    const file = join(dir, 'bin', `docker-credential-${name}`);
    put(
      file,
      `#!/bin/sh\nread -r asked\nprintf '%s %s' "$1" "$asked" > ${dir}/asked\nprintf '%s' '${answer}'\nexit ${code}\n`,
    );
    chmodSync(file, 0o755);
  }
  const asked = async () => (await import('node:fs/promises')).readFile(join(dir, 'asked'), 'utf8');
  const answer = (Username: string) => JSON.stringify({ ServerURL: 'x', Username, Secret: SECRET });

  it('is asked for the registry that is its own', async () => {
    helper('mine', answer('kept'));
    put(RUN, {
      credHelpers: { 'registry.example': 'mine' },
      auths: { 'registry.example': { auth: auth('no') } },
    });
    expect(await find('registry.example')).toEqual(known('kept'));
    expect(await asked()).toBe('get registry.example');
    helper('mine', answer('<token>'));
    expect(await find('registry.example')).toEqual({ identityToken: SECRET });
    expect(await find('other.example')).toBeUndefined();
  });

  it('is asked for every registry where it keeps all', async () => {
    helper('all', answer('kept'));
    put(DOCKER, { credsStore: 'all', auths: { 'https://index.docker.io/v1/': {} } });
    expect(await find('docker.io', 'library/debian')).toEqual(known('kept'));
    expect(await asked()).toBe('get https://index.docker.io/v1/');
    helper('all', 'credentials not found in native keychain', 1);
    expect(await find('docker.io', 'library/debian')).toBeUndefined();
  });

  it('of Docker’s own registry is asked for it by the name that it is kept under', async () => {
    helper('hub', answer('kept'));
    for (const name of ['docker.io', 'https://index.docker.io/v1/']) {
      put(RUN, { credHelpers: { [name]: 'hub' } });
      expect(await find('docker.io', 'library/debian')).toEqual(known('kept'));
      expect(await asked()).toBe(`get ${name}`);
    }
    expect(await find('index.docker.io', 'library/debian')).toBeUndefined();
  });

  it('that knows nobody leaves the registry to be asked by nobody', async () => {
    put(RUN, { credHelpers: { 'registry.example': 'mine' } });
    helper('mine', JSON.stringify({ ServerURL: 'x', Username: '', Secret: '' }));
    expect(await find('registry.example')).toBeUndefined();
    helper('mine', answer('kept'));
    expect(await find('registry.example')).toEqual(known('kept'));
  });

  it('that gives a name of which a part would be read as the password, or no text, is refused', async () => {
    put(RUN, { credHelpers: { 'registry.example': 'mine' } });
    helper('mine', answer('some.one'));
    expect(await find('registry.example')).toEqual(known('some.one'));
    helper('mine', answer('some:one'));
    await refusedWithoutSecret('docker-credential-mine');
    const text = Buffer.from(answer('someöne'), 'latin1');
    writeFileSync(join(dir, 'latin1'), text);
    writeFileSync(join(dir, 'bin/docker-credential-mine'), `#!/bin/sh\ncat ${dir}/latin1\n`);
    await refusedWithoutSecret('docker-credential-mine');
    writeFileSync(join(dir, 'latin1'), answer('someöne'));
    expect(await find('registry.example')).toEqual(known('someöne'));
  });

  it('that says far too much is ended, whether it likes to or not', async () => {
    put(RUN, { credHelpers: { 'registry.example': 'mine' } });
    helper('mine', answer('kept'));
    expect(await find('registry.example')).toEqual(known('kept'));
    writeFileSync(
      join(dir, 'bin/docker-credential-mine'),
      "#!/bin/sh\ntrap '' TERM\nhead -c 100000 /dev/zero\nexec sleep 60\n",
    );
    await refusedWithoutSecret('docker-credential-mine');
  });

  it('that fails, answers nonsense or is not there is said to', async () => {
    helper('mine', answer('kept'));
    put(RUN, { credHelpers: { 'registry.example': 'mine' } });
    await expect(find('registry.example')).resolves.toEqual(known('kept'));
    helper('mine', SECRET);
    await refusedWithoutSecret('docker-credential-mine');
    helper('mine', answer('kept'), 1);
    await refusedWithoutSecret('docker-credential-mine');
    rmSync(join(dir, 'bin/docker-credential-mine'));
    await refusedWithoutSecret('docker-credential-mine');
  });

  it('is a program’s name and no path', async () => {
    const elsewhere = join(dir, 'docker-credential-x');
    put(elsewhere, `#!/bin/sh\nprintf '%s' '${answer('kept')}'\n`);
    chmodSync(elsewhere, 0o755);
    mkdirSync(join(dir, 'bin/docker-credential-'));
    put(RUN, { credHelpers: { 'registry.example': '/../../docker-credential-x' } });
    await refusedWithoutSecret('docker-credential-');
  });
});

describe('credentials that can’t be read', () => {
  it('are a refusal that names the file and nothing of what is in it', async () => {
    put(RUN, { auths: { 'registry.example': { auth: auth('a') } } });
    await expect(find('registry.example')).resolves.toEqual(known('a'));
    const broken = [
      `{"auths":{"registry.example":{"auth":"${auth('a')}"}}`,
      `{"auths":{"registry.example":{"auth":"${auth('a')}"}},"auths":{}}`,
      `{"auths":["${SECRET}"]}`,
      `{"auths":{"registry.example":{"auth":"${auth('a')}!"}}}`,
      `{"auths":{"registry.example":{"auth":"${Buffer.from(SECRET).toString('base64')}"}}}`,
      `{"${SECRET}`,
    ];
    for (const text of broken) {
      put(RUN, text);
      await refusedWithoutSecret(RUN);
    }
    rmSync(RUN);
    mkdirSync(RUN);
    await refusedWithoutSecret(RUN);
  });

  it('are so too where there are far too many', async () => {
    put(RUN, JSON.stringify({ auths: {}, filler: 'x'.repeat(1024 * 1024) }));
    await refusedWithoutSecret(RUN);
    // A device says of itself that it is empty, and never ends.
    environment.REGISTRY_AUTH_FILE = '/dev/zero';
    await refusedWithoutSecret('/dev/zero can’t be used (OCI_TOO_LARGE)');
  });
});

/** Whoever logs an error logs its causes too. */
async function refusedWithoutSecret(named: string): Promise<void> {
  const error: unknown = await find('registry.example').then(
    () => undefined,
    (why: unknown) => why,
  );
  expect(error).toMatchObject({ code: 'OCI_CREDENTIALS', message: expect.stringContaining(named) });
  const shown = inspect(error, { depth: 9 });
  for (const secret of [SECRET, auth('a'), auth('a').slice(0, 8)]) expect(shown).not.toContain(secret);
}
