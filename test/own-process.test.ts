import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { needsOwnProcess, OWN_PROCESS } from './support/own-process.ts';

const root = join(import.meta.dirname, '..');

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
