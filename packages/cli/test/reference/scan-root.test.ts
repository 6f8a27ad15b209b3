import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { bareTpmPolicy, parseReferenceSet } from '@kallio/appraisal';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../support/program.ts';

let dir: string;
let root: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-scan-'));
  root = join(dir, 'root');
  mkdirSync(root);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function put(path: string, content: string | Uint8Array, mode = 0o644): string {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
  return createHash('sha256').update(content).digest('hex');
}

interface Scanned {
  readonly exit: number;
  readonly document: {
    readonly files: number;
    readonly skipped: readonly { readonly path: string; readonly why: string }[];
    readonly limits: readonly string[];
    readonly error?: { readonly code: string };
  };
  /** By path, as sha256sum lists them. */
  readonly paths: ReadonlyMap<string, string>;
}

async function scan(...more: string[]): Promise<Scanned> {
  const paths = join(dir, 'paths');
  const { exit, out } = await run(
    ...['reference', 'scan', root, '--out', join(dir, 'ref.json'), '--paths', paths, '--json', ...more],
  );
  const lines = existsSync(paths) ? readFileSync(paths, 'utf8').split('\n').filter(Boolean) : [];
  return {
    exit,
    document: JSON.parse(out),
    paths: new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)])),
  };
}

function classesOf(file: string): ReadonlyMap<string, readonly string[]> {
  const { reference } = JSON.parse(readFileSync(file, 'utf8'));
  return new Map(
    reference.ima.classes.map((one: { name: string; digests: string[] }) => [one.name, one.digests]),
  );
}

/** Mounting takes a privilege that not every machine gives. */
const canMount = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);

describe('a scan of a root', () => {
  it('takes what the kernel executes, maps or loads, by the class of its path', async () => {
    const program = put('usr/bin/tool', 'a program', 0o755);
    const library = put('usr/lib/x86_64-linux-gnu/libx.so.1.2', ELF);
    const plugin = put('opt/app/plugin.bin', Buffer.concat([ELF, Buffer.from('x')]));
    const script = put('opt/app/script', '#!/bin/sh\ntrue\n');
    const module = put('usr/lib/modules/6.1/kernel/x.ko', 'a module');
    const firmware = put('usr/lib/firmware/wifi.bin', 'firmware');
    put('etc/config', 'a setting');
    put('etc/empty', '');
    const { exit, document } = await scan();
    expect(exit).toBe(0);
    expect(document.files).toBe(6);
    expect(classesOf(join(dir, 'ref.json'))).toEqual(
      new Map([
        ['kernel modules', [module]],
        ['firmware', [firmware]],
        ['programs', [program]],
        ['libraries', [library]],
        ['everything else', [plugin, script].sort()],
      ]),
    );
  });

  it('takes every regular file when it is asked to', async () => {
    put('usr/bin/tool', 'a program', 0o755);
    const config = put('etc/config', 'a setting');
    expect((await scan()).paths.get('/etc/config')).toBeUndefined();
    expect((await scan('--all')).paths.get('/etc/config')).toBe(config);
  });

  it('agrees with sha256sum, file by file, on real programs', async () => {
    for (const name of ['true', 'cat', 'sha256sum']) {
      put(`usr/bin/${name}`, readFileSync(`/usr/bin/${name}`), 0o755);
    }
    put('usr/bin/with\nline\\break', 'odd', 0o755);
    put('usr/bin/äö', 'not ASCII', 0o755);
    await scan();
    // sha256sum takes paths from where it stands.
    const list = readFileSync(join(dir, 'paths'), 'utf8').replaceAll(/^(\\?[0-9a-f]{64} {2})\//gm, '$1');
    writeFileSync(join(dir, 'list'), list);
    const checked = spawnSync('sha256sum', ['-c', '--strict', join(dir, 'list')], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(checked.status, checked.stderr).toBe(0);
    expect(checked.stdout.trim().split('\n')).toHaveLength(5);
  });

  it('takes a compressed module as it lies on the disk, and as an initial RAM disk unpacks it', async () => {
    const content = Buffer.concat([ELF, Buffer.alloc(5000, 7)]);
    const module = createHash('sha256').update(content).digest('hex');
    const xz = spawnSync('xz', ['-c'], { input: content });
    const forms: [string, Uint8Array][] = [
      ['gz', gzipSync(content)],
      ['zst', zstdCompressSync(content)],
      ['xz', xz.stdout],
    ];
    for (const [suffix, bytes] of forms) put(`usr/lib/modules/6.1/${suffix}.ko.${suffix}`, bytes);
    put('usr/lib/modules/6.1/bad.ko.zst', 'not compressed at all');
    const { paths, document } = await scan();
    for (const [suffix, bytes] of forms) {
      const folder = '/usr/lib/modules/6.1';
      expect(paths.get(`${folder}/${suffix}.ko`), suffix).toBe(module);
      expect(paths.get(`${folder}/${suffix}.ko.${suffix}`)).toBe(
        createHash('sha256').update(bytes).digest('hex'),
      );
    }
    expect(document.limits.join(' ')).toMatch(/A compressed kernel module is damaged/);
  });

  it('puts a large class into a set beside the file', async () => {
    for (let i = 0; i < 1100; i++) put(`usr/bin/p${i}`, `program ${i}`, 0o755);
    await scan();
    const { reference } = JSON.parse(readFileSync(join(dir, 'ref.json'), 'utf8'));
    const [programs] = reference.ima.classes;
    const [set] = programs.sets;
    const bytes = readFileSync(join(dir, 'sets', `${set.digest.slice(7)}.kref`));
    expect(bytes).toHaveLength(set.bytes);
    const known = parseReferenceSet(new Uint8Array(bytes));
    expect(known.count).toBe(1100);
    expect(known.has(createHash('sha256').update('program 7').digest())).toBe(true);
  });
});

describe('a hostile root', () => {
  it('is not left: links are not followed, neither to files, nor to folders, nor in a circle', async () => {
    mkdirSync(join(dir, 'outside'));
    writeFileSync(join(dir, 'outside/secret'), 'secret', { mode: 0o755 });
    put('usr/bin/tool', 'a program', 0o755);
    symlinkSync(join(dir, 'outside'), join(root, 'usr/away'));
    symlinkSync(join(dir, 'outside/secret'), join(root, 'usr/bin/secret'));
    symlinkSync('../..', join(root, 'usr/up'));
    symlinkSync('.', join(root, 'usr/self'));
    const { paths, exit } = await scan('--all');
    expect([...paths.keys()]).toEqual(['/usr/bin/tool']);
    expect(exit).toBe(0);
    // The honest twin: the same file inside is taken.
    linkSync(join(dir, 'outside/secret'), join(root, 'usr/bin/inside'));
    expect([...(await scan('--all')).paths.keys()].sort()).toEqual(['/usr/bin/inside', '/usr/bin/tool']);
  });

  it('does not stop the scan by pipes, sockets, deep folders or the kernel’s own', async () => {
    put('usr/bin/tool', 'a program', 0o755);
    put('proc/1/exe', 'not a file of the system', 0o755);
    put('sys/kernel/x', 'nor this', 0o755);
    put('home/proc/tool', 'but this', 0o755);
    expect(spawnSync('mkfifo', [join(root, 'usr/bin/pipe')]).status).toBe(0);
    put(`deep/${'d/'.repeat(200)}tool`, 'too deep', 0o755);
    const { paths, document, exit } = await scan();
    expect([...paths.keys()].sort()).toEqual(['/home/proc/tool', '/usr/bin/tool']);
    expect(document.skipped).toMatchObject([{ why: 'too deep' }]);
    expect(exit).toBe(1);
  });

  it.skipIf(!canMount)('is not crossed into other file systems', async () => {
    put('usr/bin/tool', 'a program', 0o755);
    put('mnt/inside', 'below', 0o755);
    const mounted = spawnSync('unshare', [
      ...['-m', 'sh', '-c'],
      `mount -t tmpfs none ${join(root, 'mnt')} && echo other > ${join(root, 'mnt/other')} && chmod 755 ${join(root, 'mnt/other')} && exec "$@"`,
      ...['-', process.execPath, join(import.meta.dirname, '../../src/main.ts')],
      ...['reference', 'scan', root, '--out', join(dir, 'ref.json'), '--json'],
    ]);
    const document = JSON.parse(mounted.stdout.toString());
    expect(document.skipped).toEqual([{ path: '/mnt', why: 'another file system' }]);
    expect(document.files).toBe(1);
  });

  it('with nothing to measure, or that is not there, can’t be used', async () => {
    put('etc/config', 'a setting');
    const nothing = await scan();
    expect([nothing.exit, nothing.document.error?.code]).toEqual([2, 'CLI_SOURCE']);
    put('usr/bin/tool', 'a program', 0o755);
    expect((await scan()).exit).toBe(0);
    const image = await run('reference', 'scan', 'not a reference', '--out', join(dir, 'x.json'), '--json');
    expect([image.exit, JSON.parse(image.out).error.code]).toEqual([2, 'OCI_REFERENCE']);
    expect((await run('reference', 'scan', root)).exit).toBe(2);
  });
});

describe('values of a scan', () => {
  it('go into a policy, which gets another id and keeps what it has', async () => {
    const program = put('usr/bin/tool', 'a program', 0o755);
    const policy = join(dir, 'policy.json');
    writeFileSync(policy, JSON.stringify(bareTpmPolicy('bare')));
    await scan();
    const merged = await run('policy', 'merge', policy, join(dir, 'ref.json'), '--json');
    expect(merged.exit).toBe(0);
    const { id, reference } = JSON.parse(readFileSync(policy, 'utf8'));
    expect(id).toMatch(/^bare:r[0-9a-f]{8}$/);
    expect(reference.pcrs).toEqual(bareTpmPolicy('bare').reference.pcrs);
    expect(reference.ima.classes).toMatchObject([{ name: 'programs', digests: [program] }]);
    // Again, and with another file: the union.
    const other = put('usr/bin/other', 'another', 0o755);
    const again = await run('reference', 'scan', root, '--into', policy, '--id', 'mine', '--json');
    expect(again.exit).toBe(0);
    const now = JSON.parse(readFileSync(policy, 'utf8'));
    expect(now.id).toBe('mine');
    expect(new Set(now.reference.ima.classes[0].digests)).toEqual(new Set([program, other]));
  });

  it('are refused for a class that the policy has for other paths, and leave the policy as it was', async () => {
    put('usr/bin/tool', 'a program', 0o755);
    await scan();
    const classes = [{ name: 'programs', paths: ['/opt/'], digests: ['ab'.repeat(32)] }];
    const policy = join(dir, 'policy.json');
    const bare = bareTpmPolicy('bare');
    const before = JSON.stringify({ ...bare, reference: { ...bare.reference, ima: { classes } } });
    writeFileSync(policy, before);
    const merged = await run('policy', 'merge', policy, join(dir, 'ref.json'), '--json');
    expect([merged.exit, JSON.parse(merged.out).error.code]).toEqual([2, 'CLI_REFERENCE']);
    expect(readFileSync(policy, 'utf8')).toBe(before);
  });

  it('are refused when the set beside them was exchanged', async () => {
    for (let i = 0; i < 1100; i++) put(`usr/bin/p${i}`, `program ${i}`, 0o755);
    const policy = join(dir, 'policies/policy.json');
    mkdirSync(dirname(policy));
    const before = JSON.stringify(bareTpmPolicy('bare'));
    writeFileSync(policy, before);
    await scan();
    expect((await run('policy', 'merge', policy, join(dir, 'ref.json'))).exit).toBe(0);
    const [{ sets }] = JSON.parse(readFileSync(join(dir, 'ref.json'), 'utf8')).reference.ima.classes;
    const set = `sets/${sets[0].digest.slice(7)}.kref`;
    expect(readFileSync(join(dir, 'policies', set))).toEqual(readFileSync(join(dir, set)));
    const bytes = readFileSync(join(dir, set));
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    writeFileSync(join(dir, set), bytes);
    writeFileSync(policy, before);
    const merged = await run('policy', 'merge', policy, join(dir, 'ref.json'), '--json');
    expect([merged.exit, JSON.parse(merged.out).error.code]).toEqual([2, 'CLI_REFERENCE']);
    expect(readFileSync(policy, 'utf8')).toBe(before);
  });
});
