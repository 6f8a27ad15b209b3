import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AR_HEADER_BYTES, readArHeader } from '../../src/reference/ar.ts';
import { controlPackage, installedPackages } from '../../src/reference/dpkg.ts';
import { run } from '../support/program.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-deb-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const PROGRAM = 'a program';
const SHA256 = createHash('sha256').update(PROGRAM).digest('hex');

/** A package that dpkg-deb itself builds. */
function build(name: string, compression: string): string {
  const tree = join(dir, `${name}.tree`);
  const files: [string, string, number][] = [
    [
      'DEBIAN/control',
      `Package: ${name}\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n`,
      0o644,
    ],
    ['usr/bin/tool', PROGRAM, 0o755],
    ['etc/config', 'a setting', 0o644],
    ['usr/lib/modules/6.1/x.ko', 'a module', 0o644],
  ];
  for (const [path, content, mode] of files) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), content);
    chmodSync(join(tree, path), mode);
  }
  spawnSync('ln', [join(tree, 'usr/bin/tool'), join(tree, 'usr/bin/twin')]);
  mkdirSync(join(dir, 'debs'), { recursive: true });
  const deb = join(dir, 'debs', `${name}.deb`);
  const made = spawnSync('dpkg-deb', [
    '--root-owner-group',
    `-Z${compression}`,
    '--uniform-compression',
    '-b',
    tree,
    deb,
  ]);
  expect(made.status, made.stderr.toString()).toBe(0);
  return deb;
}

async function scan(source: string) {
  const { exit, out } = await run(
    ...['reference', 'scan', source, '--out', join(dir, 'ref.json'), '--paths', join(dir, 'paths'), '--json'],
  );
  return { exit, document: JSON.parse(out) };
}

describe('a scan of packages', () => {
  it.each(['zstd', 'gzip', 'xz', 'none'])('reads a package compressed by %s', async (compression) => {
    const deb = build('tool', compression);
    const { exit, document } = await scan(deb);
    expect(exit).toBe(0);
    expect(document.sources).toMatchObject([{ kind: 'packages', packages: ['tool 1:2.0-1'] }]);
    const paths = readFileSync(join(dir, 'paths'), 'utf8').trim().split('\n');
    expect(paths.map((line) => line.slice(66))).toEqual([
      '/usr/bin/tool',
      '/usr/bin/twin',
      '/usr/lib/modules/6.1/x.ko',
    ]);
    expect(paths.slice(0, 2).map((line) => line.slice(0, 64))).toEqual([SHA256, SHA256]);
  });

  it('reads every package of a folder', async () => {
    build('one', 'zstd');
    build('two', 'xz');
    const { document } = await scan(join(dir, 'debs'));
    expect(document.sources[0].packages).toEqual(['one 1:2.0-1', 'two 1:2.0-1']);
  });

  it('refuses a package that is cut, or is none', async () => {
    for (const compression of ['zstd', 'xz']) {
      const deb = build('tool', compression);
      expect((await scan(deb)).exit).toBe(0);
      const bytes = readFileSync(deb);
      for (const damaged of [
        bytes.subarray(0, -40),
        bytes.subarray(8),
        Buffer.from('!<arch>\n'),
        damage(bytes),
      ]) {
        writeFileSync(deb, damaged);
        const { exit, document } = await scan(deb);
        expect([exit, document.error?.code]).toEqual([2, expect.stringMatching(/^(?:CLI_PACKAGE|CODEC_)/)]);
      }
    }
  });
});

/** The middle of the archive, where its data is. */
function damage(bytes: Buffer): Buffer {
  const out = Buffer.from(bytes);
  out.fill(0xff, bytes.length - 200, bytes.length - 100);
  return out;
}

describe('names of packages', () => {
  it('are those that dpkg has installed', () => {
    const status = [
      'Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nDescription: x\n Package: not-this',
      'Package: gone\nStatus: deinstall ok config-files\nVersion: 1',
      'Package: Bad Name\nStatus: install ok installed\nVersion: 1',
      'Package: apt\nStatus: install ok installed\nVersion: 2.6~rc1',
    ].join('\n\n');
    expect(installedPackages(status)).toEqual(['apt 2.6~rc1', 'bash 5.2-1']);
    expect(controlPackage('Package: x\nVersion: 1\n')).toBe('x 1');
    expect(controlPackage('Version: 1\n')).toBeUndefined();
  });
});

describe('the header of an archive’s member', () => {
  const header = (name: string, size: string, end = '`\n') =>
    new Uint8Array(Buffer.from(`${name.padEnd(16)}${'0'.padEnd(32)}${size.padEnd(10)}${end}`));

  it('is read, and refused in any other form', () => {
    expect(header('data.tar.zst', '12')).toHaveLength(AR_HEADER_BYTES);
    expect(readArHeader(header('data.tar.zst', '12'))).toEqual({ name: 'data.tar.zst', size: 12 });
    expect(readArHeader(header('data.tar.zst/', '12'))).toEqual({ name: 'data.tar.zst', size: 12 });
    for (const bad of [
      header('data.tar', '-1'),
      header('data.tar', '1e3'),
      header('data.tar', ''),
      header('../data', '1'),
      header('data.tar', '1', 'xx'),
      header('data.tar', '1').subarray(1),
    ]) {
      expect(() => readArHeader(bad)).toThrow();
    }
  });
});
