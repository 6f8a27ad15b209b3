import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

/* A checkout of its own, with the same dependencies, in which sources change between starts of `kallio`. */

// Each makes bundles: a second of two processors, and a while where others use them.
vi.setConfig({ testTimeout: 120_000 });

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const PROGRAM = 'packages/cli/src/program.ts';
let checkout: string;
const at = (...path: string[]) => join(checkout, ...path);
const cache = () => at('node_modules/.cache/kallio');
const bundles = () => readdirSync(cache()).filter((name) => /^[0-9a-f]{64}/.test(name));
const current = () => readFileSync(join(cache(), 'current'), 'utf8').split('/')[0];

beforeAll(() => {
  checkout = mkdtempSync(join(tmpdir(), 'kallio-checkout-'));
  for (const name of readdirSync(join(PROJECT, 'packages'))) {
    for (const part of ['src', 'bin', 'package.json']) {
      const from = join(PROJECT, 'packages', name, part);
      if (statSync(from, { throwIfNoEntry: false }))
        cpSync(from, at('packages', name, part), { recursive: true });
    }
  }
  cpSync(join(PROJECT, 'package-lock.json'), at('package-lock.json'));
  cpSync(join(PROJECT, 'package.json'), at('package.json'));
  mkdirSync(at('node_modules/@kallio'), { recursive: true });
  for (const name of readdirSync(join(PROJECT, 'node_modules'))) {
    if (name.startsWith('.') || name === '@kallio') continue;
    symlinkSync(realpathSync(join(PROJECT, 'node_modules', name)), at('node_modules', name));
  }
  for (const name of readdirSync(at('packages')))
    symlinkSync(at('packages', name), at('node_modules/@kallio', name));
});
afterAll(() => rmSync(checkout, { recursive: true, force: true }));

const BIN = 'packages/cli/bin/kallio.cjs';

/** An image policy of a log that there is nowhere. */
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const policy = {
  policy: 'kallio-image-policy-v1',
  issuer: 'https://kallio.example',
  jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'results' }] },
  logs: [
    {
      origin: 'log.example - 1',
      publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    },
  ],
  builders: ['build-1'],
  tiers: ['B'],
};

/** The version, as a start of the command prints it. */
const version = () => said(BIN, '--version');

/** What a start of the command prints. */
async function said(program: string, ...args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [at(program), ...args]);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (text += String(piece)));
  await once(child, 'close');
  return text.trim();
}

/** Writes another version into the sources, of the same length, and lets the file look as if nobody had. */
function edit(from: string, to: string): void {
  const { atime, mtime } = statSync(at(PROGRAM));
  const text = readFileSync(at(PROGRAM), 'utf8');
  expect(text).toContain(`'${from}'`);
  writeFileSync(at(PROGRAM), text.replace(`'${from}'`, `'${to}'`));
  utimesSync(at(PROGRAM), atime, mtime);
}

/** Writes a source with something at its end; the file looks as if nobody had. */
function touch(path: string): void {
  const { atime, mtime } = statSync(at(path));
  writeFileSync(at(path), `${readFileSync(at(path), 'utf8')}// changed\n`);
  utimesSync(at(path), atime, mtime);
}

/** Until what was written is no longer new: then the state of the files is remembered. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 1200));

const quick = () => readFileSync(join(cache(), 'current-verify'), 'utf8').split('\n');
const program = () => join(cache(), quick()[0] ?? '');
const verify = () => said(BIN, 'verify', 'oci:/nowhere', '--policy', at('policy.json'));

describe('where nothing is made yet', () => {
  beforeEach(() => rmSync(cache(), { recursive: true, force: true }));

  it('makes the bundle once, also when many start at once', async () => {
    // As what another makes stands in a list of the folder that was read before it was finished, and has its name since.
    const renamed = join(cache(), `${'0'.repeat(64)}.renamed`);
    mkdirSync(cache(), { recursive: true });
    symlinkSync('nowhere', renamed);
    await settle();
    const said = await Promise.all(Array.from({ length: 3 }, version));
    rmSync(renamed);
    expect(new Set(said)).toEqual(new Set(['0.1.0']));
    expect(bundles()).toEqual([current()]);
    const { ino, mtimeMs } = statSync(join(cache(), bundles()[0] ?? ''));
    expect(await version()).toBe('0.1.0');
    expect(statSync(join(cache(), bundles()[0] ?? ''))).toMatchObject({ ino, mtimeMs });
  });

  it('starts the sources where there is no bundler', async () => {
    rmSync(at('node_modules/rolldown'));
    expect(await version()).toBe('0.1.0');
    expect(bundles()).toEqual([]);
    symlinkSync(realpathSync(join(PROJECT, 'node_modules/rolldown')), at('node_modules/rolldown'));
    expect(await version()).toBe('0.1.0');
    expect(bundles()).toHaveLength(1);
  });
});

describe('where a bundle is made of the sources as they are', () => {
  // Made once: to make one takes longer than all that is done with it.
  const made = () => at('made');
  beforeAll(async () => {
    rmSync(cache(), { recursive: true, force: true });
    await settle();
    expect(await version()).toBe('0.1.0');
    cpSync(cache(), made(), { recursive: true });
    writeFileSync(at('policy.json'), JSON.stringify(policy));
  });
  beforeEach(() => {
    rmSync(cache(), { recursive: true, force: true });
    cpSync(made(), cache(), { recursive: true });
  });

  it('is the same command as its sources, to the last sign', async () => {
    for (const args of [
      ['--help'],
      ['policy', 'image', '--help'],
      ['verify'],
      ['verify', '--help'],
      ['verify', '--nothing', 'x'],
      // What it loads only for folders, and starts by that no second time.
      ['verify', 'oci:/nowhere', '--policy', 'policy.json'],
      ['verify', 'oci:/nowhere', '--policy', 'policy.json', '--json'],
      ['policy', 'schema', '--image'],
    ]) {
      const text = await said('packages/cli/src/main.ts', ...args);
      expect(await said(BIN, ...args)).toBe(text);
      expect(text).not.toBe('');
    }
    expect(await said(BIN, 'policy', 'image', '--help')).toContain('this server’s keys');
  });

  describe('a command that is bundled by itself', () => {
    it('is started by itself, and keeps what was compiled of it', async () => {
      const text = await verify();
      expect(text).toContain('OCI_');
      expect(readdirSync(dirname(program())).filter((name) => name.startsWith('verify.js.v'))).toHaveLength(
        1,
      );
      expect(await verify()).toBe(text);
      writeFileSync(program(), `process.stdout.write('by itself');`);
      expect(await verify()).toBe('by itself');
      // Code that was compiled of another text is not run for this one.
      writeFileSync(program(), `process.stdout.write('by itself, again');`);
      expect(await verify()).toBe('by itself, again');
    });

    it('is one file, and loads others only where it needs them', () => {
      const text = readFileSync(program(), 'utf8');
      expect(text).toMatch(/=>require\("\.\//);
      expect(text).not.toMatch(/(?<!=>)require\("\.\//);
      expect(text).not.toMatch(/\bimport\(/);
    });

    it('keeps what a whole run compiled rather than what another did, and from then on keeps that', async () => {
      const kept = () => {
        const [name = ''] = readdirSync(dirname(program())).filter((file) => file.startsWith('verify.js.v'));
        return readFileSync(join(dirname(program()), name));
      };
      writeFileSync(program(), `process.exitCode = process.argv[3] === 'part' ? 1 : 0;`);
      const start = async (whole: boolean, arg = whole ? 'whole' : 'part') => {
        await said(BIN, 'verify', arg);
        return kept();
      };
      const part = await start(false);
      expect(part.at(-1)).toBe(0);
      expect(await start(false)).toEqual(part);
      expect(await start(false, '--help')).toEqual(part);
      const whole = await start(true);
      expect(whole.at(-1)).toBe(1);
      expect(await start(false)).toEqual(whole);
      // What V8 can't use is made anew.
      writeFileSync(`${program()}.${process.version}-${process.arch}`, 'nonsense');
      expect((await start(false)).at(-1)).toBe(0);
    });

    it('asks the registry while it reads the policy, and waits for no answer where that is no policy', async () => {
      const asked: string[] = [];
      const silent = createServer((request) => void asked.push(request.url ?? ''));
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      const { port } = silent.address() as AddressInfo;
      const image = `127.0.0.1:${port}/app@sha256:${'0'.repeat(64)}`;
      writeFileSync(at('none.json'), '{}');
      const started = Date.now();
      expect(await said(BIN, 'verify', image, '--policy', at('none.json'))).toContain('IMAGE_POLICY_INVALID');
      // To wait for an answer takes a minute.
      expect(Date.now() - started).toBeLessThan(30_000);
      expect(asked.map((path) => path.split('/')[3]).sort()).toEqual(['manifests', 'referrers']);
      const late = said(BIN, 'verify', image, '--policy', at('policy.json'));
      await vi.waitFor(() => expect(asked).toHaveLength(4), { timeout: 30_000 });
      silent.closeAllConnections();
      await new Promise((resolve) => silent.close(resolve));
      expect(await late).toContain('OCI_UNREACHABLE');
    });

    it('is part of the whole command where its own program is gone', async () => {
      const text = await verify();
      rmSync(program());
      expect(await verify()).toBe(text);
    });
  });

  // These change the sources, and so come last.
  it('never starts a bundle of other sources than there are', async () => {
    expect(await version()).toBe('0.1.0');
    const [first] = bundles();
    expect(current()).toBe(first);
    edit('0.1.0', '0.2.0');
    expect(await version()).toBe('0.2.0');
    // Twice within a moment: the second change may leave the times of the first.
    edit('0.2.0', '0.3.0');
    expect(await version()).toBe('0.3.0');
    edit('0.3.0', '0.1.0');
    expect(await version()).toBe('0.1.0');
    // The sources of before are the bundle of before.
    expect(bundles()).toHaveLength(3);
    await settle();
    await version();
    expect(current()).toBe(first);
  });

  it('tells why sources can’t be bundled, and starts nothing older', async () => {
    expect(await version()).toBe('0.1.0');
    const text = readFileSync(at(PROGRAM), 'utf8');
    writeFileSync(at(PROGRAM), `${text}\nimport './nothing.ts';\n`);
    expect(await version()).toContain('nothing.ts');
    writeFileSync(at(PROGRAM), text);
    expect(await version()).toBe('0.1.0');
  });

  it('a command that is bundled by itself goes on where other sources change, and no further where its own do', async () => {
    await settle();
    await version();
    const text = await verify();
    writeFileSync(program(), `process.stdout.write('by itself');`);
    touch('packages/server/src/index.ts');
    expect(await verify()).toBe('by itself');
    const own = 'packages/cli/src/commands/verify.ts';
    touch(own);
    expect(await verify()).toBe(text);
    await settle();
    await version();
    writeFileSync(program(), `process.stdout.write('by itself');`);
    expect(await verify()).toBe('by itself');
    writeFileSync(at('package-lock.json'), `${readFileSync(at('package-lock.json'), 'utf8')}\n`);
    expect(await verify()).toBe(text);
    for (const path of [
      own,
      'package-lock.json',
      'packages/codec/src/json.ts',
      // Read only when it is asked for evidence.
      'packages/signature/src/evidence.ts',
      // They name what there is to import, and where it is.
      'packages/oci/src/index.ts',
      'packages/oci/package.json',
      // And this makes the program.
      'packages/cli/src/bundle/install.ts',
    ]) {
      expect(quick().map((line) => line.split('\t')[1])).toContain(path);
    }
  });
});
