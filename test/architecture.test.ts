import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Files, RULES, readTree } from './support/check-layout.ts';
import { EXCEPTIONS, type Exception } from './support/layout.ts';
import { needsOwnProcess, OWN_PROCESS } from './support/own-process.ts';

const root = join(import.meta.dirname, '..');

function projectFiles(): Files {
  const files = new Map<string, string>();
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!['node_modules', 'fixtures', 'dist'].includes(entry.name)) walk(path);
      } else if (entry.name === 'package.json' || /\.[cm]?[jt]sx?$/.test(entry.name)) {
        files.set(path, readFileSync(join(root, path), 'utf8'));
      }
    }
  };
  for (const folder of ['packages', 'e2e', 'bench', 'fuzz', 'lab']) walk(folder);
  return files;
}

describe('in this project', () => {
  const tree = readTree(projectFiles(), EXCEPTIONS);
  test.each(RULES)('%s', (_, check) => {
    expect(check(tree)).toEqual([]);
  });

  test('the rules saw the sources', () => {
    expect(tree.imports.get('packages/codec/src/jcs.ts')?.all).toEqual([
      'node:crypto',
      './bytes.ts',
      './error.ts',
      './text.ts',
    ]);
    expect(tree.manifests.size).toBeGreaterThanOrEqual(15);
  });
});

const manifest = (name: string, dependencies: string[] = [], exported = ['.']): string =>
  JSON.stringify({
    name: `@kallio/${name}`,
    exports: Object.fromEntries(exported.map((part) => [part, './src/index.ts'])),
    dependencies: Object.fromEntries(dependencies.map((dependency) => [`@kallio/${dependency}`, '*'])),
  });

/** A made-up project that keeps every rule. */
const HONEST: Readonly<Record<string, string>> = {
  'packages/codec/package.json': manifest('codec'),
  'packages/codec/src/index.ts': `export { hex } from './hex.ts';\nexport type * from './kind.ts';`,
  'packages/codec/src/hex.ts': `import type { Kind } from './kind.ts';\nexport const hex = 1;`,
  'packages/codec/src/kind.ts': `import type { hex } from './hex.ts';\nexport type Kind = typeof hex;`,
  'packages/codec/test/hex.test.ts': `import { hex } from '../src/hex.ts';\nimport '@kallio/tpm';`,
  'packages/tpm/package.json': manifest('tpm', ['codec'], ['.', './structures']),
  'packages/tpm/src/index.ts': `export * from './structures/index.ts';\nexport * from './stream.ts';`,
  'packages/tpm/src/stream.ts': `import { connect } from 'node:net';`,
  'packages/tpm/src/structures/index.ts': `import { hex } from '@kallio/codec';`,
  'packages/tpm/src/structures/sized.ts': '',
  'packages/pki/package.json': manifest('pki'),
  'packages/pki/src/names.ts': `import { isIP } from 'node:net';`,
  'packages/evidence/package.json': manifest('evidence', ['codec', 'tpm']),
  'packages/evidence/src/index.ts': `import {\n  hex,\n} from '@kallio/codec';\nimport '@kallio/tpm/structures';`,
  'packages/tlog/package.json': manifest('tlog'),
  'packages/tlog/src/index.ts': `export * from './writer/disk.ts';`,
  'packages/tlog/src/proof.ts': '',
  'packages/tlog/src/writer/disk.ts': `import { open } from 'node:fs/promises';`,
  'packages/protocol/package.json': manifest('protocol'),
  'packages/protocol/src/index.ts': `import { fetch } from 'undici';`,
  'packages/store/package.json': manifest('store'),
  'packages/agent/package.json': manifest('agent', ['protocol', 'tpm']),
  'packages/agent/src/index.ts': `import '@kallio/protocol';\nconst tpm = await import('@kallio/tpm');`,
  'packages/server/package.json': manifest('server', ['store']),
  'packages/server/src/index.ts': `// not import('@kallio/agent')\nimport '@kallio/store';`,
  'packages/server/test/server.test.ts': `import '@kallio/server';`,
  'e2e/package.json': manifest('e2e', ['agent', 'server']),
  'e2e/01-main.test.ts': `import '@kallio/agent';\nimport '@kallio/server';`,
};
const HONEST_EXCEPTIONS: readonly Exception[] = [
  { file: 'packages/pki/src/names.ts', reaches: 'node:net', because: 'isIP() looks at a text' },
  {
    file: 'packages/tlog/src/index.ts',
    reaches: 'packages/tlog/src/writer/',
    because: 'it exports the writer',
  },
];

/** What each rule says of the made-up project after this change. */
function verdicts(changes: Readonly<Record<string, string>> = {}, exceptions = HONEST_EXCEPTIONS): string[] {
  const tree = readTree(new Map(Object.entries({ ...HONEST, ...changes })), exceptions);
  return RULES.flatMap(([, check]) => check(tree));
}

/** The honest text with one more line. */
function and(path: string, line: string): Record<string, string> {
  return { [path]: `${HONEST[path] ?? ''}\n${line}` };
}

describe('the rules', () => {
  test('pass a project that keeps them', () => {
    expect(verdicts()).toEqual([]);
  });

  const bad: [what: string, changes: Record<string, string>, verdict: string][] = [
    [
      'a library that imports a role',
      {
        ...and('packages/evidence/src/index.ts', `import '@kallio/agent';`),
        'packages/evidence/package.json': manifest('evidence', ['codec', 'tpm', 'agent']),
      },
      'packages/evidence/src/index.ts: evidence may not import @kallio/agent',
    ],
    [
      'a role that imports a role',
      {
        ...and('packages/server/src/index.ts', `import '@kallio/agent';`),
        'packages/server/package.json': manifest('server', ['store', 'agent']),
      },
      'packages/server/src/index.ts: the role server imports the role agent, but roles speak the protocol',
    ],
    [
      'a role that imports a role later, while it runs',
      {
        ...and('packages/server/src/index.ts', `const agent = await import(\n  '@kallio/agent',\n);`),
        'packages/server/package.json': manifest('server', ['store', 'agent']),
      },
      'packages/server/src/index.ts: the role server imports the role agent, but roles speak the protocol',
    ],
    [
      'a role’s test that imports another role',
      and('packages/server/test/server.test.ts', `import type { Agent } from '@kallio/agent';`),
      'packages/server/test/server.test.ts: the role server imports the role agent, but roles speak the protocol',
    ],
    [
      'an agent that keeps a store',
      {
        ...and('packages/agent/src/index.ts', `export { Database } from '@kallio/store';`),
        'packages/agent/package.json': manifest('agent', ['protocol', 'tpm', 'store']),
      },
      'packages/agent/src/index.ts: agent may not import @kallio/store',
    ],
    [
      'a judge that takes the whole TPM',
      and('packages/evidence/src/index.ts', `import '@kallio/tpm';`),
      'packages/evidence/src/index.ts: evidence may not import @kallio/tpm',
    ],
    [
      'the lowest library that imports one above it, if only its types',
      {
        ...and('packages/codec/src/hex.ts', `export type * from '@kallio/tpm';`),
        'packages/codec/package.json': manifest('codec', ['tpm']),
      },
      'packages/codec/src/hex.ts: codec may not import @kallio/tpm',
    ],
    [
      'a path into another package',
      and('packages/server/src/index.ts', `import '@kallio/store/src/database.ts';`),
      'packages/server/src/index.ts: @kallio/store/src/database.ts is not exported',
    ],
    [
      'a way around the exports',
      and('packages/server/src/index.ts', `import { x } from '../../store/src/database.ts';`),
      'packages/server/src/index.ts: ../../store/src/database.ts leaves its package',
    ],
    [
      'a test that takes another package’s fixture',
      and('packages/server/test/server.test.ts', `import '../../codec/test/hex.ts';`),
      'packages/server/test/server.test.ts: ../../codec/test/hex.ts leaves its package',
    ],
    [
      'a package whose name begins like its neighbour’s',
      and('packages/server/src/index.ts', `import '../../server-tools/src/x.ts';`),
      'packages/server/src/index.ts: ../../server-tools/src/x.ts leaves its package',
    ],
    [
      'an import by a path of one machine',
      and('packages/server/src/index.ts', `import '/opt/x.ts';`),
      'packages/server/src/index.ts: /opt/x.ts is a place on one machine',
    ],
    [
      'a source that needs a test',
      and('packages/codec/src/kind.ts', `import '../test/hex.test.ts';`),
      `packages/codec/src/kind.ts: ../test/hex.test.ts is a test's`,
    ],
    [
      'a judge that reads a file',
      and('packages/evidence/src/index.ts', `import { readFileSync } from 'node:fs';`),
      'packages/evidence/src/index.ts: reaches node:fs',
    ],
    [
      'a judge that reads a file by the module’s old name',
      and('packages/evidence/src/index.ts', `import { readFile } from 'fs/promises';`),
      'packages/evidence/src/index.ts: reaches fs/promises',
    ],
    [
      'a judge that hides its import behind a comment',
      and('packages/evidence/src/index.ts', `/* nothing\nhere */ import { request } from 'undici';`),
      'packages/evidence/src/index.ts: reaches undici',
    ],
    [
      'a judge that asks the network',
      and('packages/evidence/src/index.ts', `import { request } from 'undici';`),
      'packages/evidence/src/index.ts: reaches undici',
    ],
    [
      'a proof that looks into the log’s folder',
      and('packages/tlog/src/proof.ts', `import './writer/disk.ts';`),
      'packages/tlog/src/proof.ts: reaches node:fs/promises through packages/tlog/src/writer/disk.ts',
    ],
    [
      'a structure that reaches a TPM through its neighbour',
      and('packages/tpm/src/structures/sized.ts', `import '../stream.ts';`),
      'packages/tpm/src/structures/sized.ts: reaches node:net through packages/tpm/src/stream.ts',
    ],
    [
      'an import that package.json lacks',
      and('packages/agent/src/index.ts', `import { hex } from '@kallio/codec';`),
      'packages/agent: imports @kallio/codec, which package.json lacks',
    ],
    [
      'a dependency that nothing imports',
      { 'packages/agent/package.json': manifest('agent', ['protocol', 'tpm', 'codec']) },
      'packages/agent: package.json names @kallio/codec, which no source imports',
    ],
    [
      'a dependency that only a test imports',
      { 'packages/codec/package.json': manifest('codec', ['tpm']) },
      'packages/codec: package.json names @kallio/tpm, which no source imports',
    ],
    [
      'a circle of files',
      and('packages/codec/src/hex.ts', `export * from './index.ts';`),
      'packages/codec/src/index.ts -> packages/codec/src/hex.ts -> packages/codec/src/index.ts',
    ],
    [
      'an import by a computed name',
      and('packages/agent/src/index.ts', 'const role = await import(name);'),
      'packages/agent/src/index.ts: an import of no plain name: import(',
    ],
    [
      'a module loaded some other way',
      and('packages/agent/src/index.ts', `const load = createRequire(import.meta.url);`),
      'packages/agent/src/index.ts: a way to load modules that is no import',
    ],
    [
      'a package that nobody placed',
      { 'packages/dashboard/package.json': manifest('dashboard') },
      'packages/dashboard: the layout has no place for it',
    ],
    [
      'a package under another’s name',
      { 'packages/store/package.json': manifest('codec') },
      'packages/store: its package.json must name it @kallio/store',
    ],
  ];
  test.each(bad)('refuse %s', (_, changes, verdict) => {
    expect(verdicts(changes)).toEqual([verdict]);
  });

  test('refuse an exception that nothing needs any more', () => {
    expect(verdicts({ 'packages/pki/src/names.ts': '' })).toEqual([
      'packages/pki/src/names.ts: needs no exception for node:net',
    ]);
    expect(verdicts({ 'packages/pki/src/names.ts': '' }, HONEST_EXCEPTIONS.slice(1))).toEqual([]);
  });

  test('refuse what an exception allows in any other file', () => {
    const elsewhere = and('packages/evidence/src/index.ts', `import { isIP } from 'node:net';`);
    expect(verdicts(elsewhere)).toEqual(['packages/evidence/src/index.ts: reaches node:net']);
  });
});

test('test files that change or measure their process, and no others, have one to themselves', () => {
  // Scenarios of e2e have one each.
  const files = globSync(['{packages,lab}/**/*.test.ts', 'fuzz/test/*.test.ts'], {
    cwd: root,
    exclude: (name) => name.includes('node_modules'),
  });
  expect(files.length).toBeGreaterThan(150);
  const found = files.filter((file) => needsOwnProcess(readFileSync(join(root, file), 'utf8')));
  expect(found.sort()).toEqual([...OWN_PROCESS]);
});

test.each([
  ['memory', 'const { rss } = process.memoryUsage();', 'const { rss } = theirs.memory();'],
  ['clock', `vi.useFakeTimers({ toFake: ['Date'] });`, 'vi.waitFor(() => undefined);'],
  ['trust', 'setDefaultCACertificates([mine]);', 'connect({ ca: [mine] });'],
  ['listeners', `process.on('SIGTERM', end);`, `child.on('SIGTERM', end);`],
  ['folder', 'process.chdir(dir);', `spawn('make', { cwd: dir });`],
  ['environment', `process.env.HOME = dir;`, `const env = { ...process.env, HOME: dir };`],
])('a test that touches its %s is told by its text', (_, touches, leavesAlone) => {
  expect(needsOwnProcess(touches)).toBe(true);
  expect(needsOwnProcess(leavesAlone)).toBe(false);
});
