import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** Routes asked for in a process of its own, whose standard error is the log; of each line its level and status. */
function logged(level: string): unknown[] {
  const program = fileURLToPath(new URL('./fixture-logged-routes.ts', import.meta.url));
  const { stderr, status } = spawnSync(process.execPath, [program, level], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map((line) => [line.level, line.route, line.status]);
}

it('has a line for each request but those of quiet routes that went well', () => {
  expect(logged('info')).toEqual([
    [30, '/refused', 422],
    [30, '/usual', 200],
    [30, '(none)', 404],
  ]);
});

it('has a line for those as well, where everything is to be logged', () => {
  expect(logged('debug')).toEqual([
    [20, '/quiet', 200],
    [30, '/refused', 422],
    [30, '/usual', 200],
    [30, '(none)', 404],
  ]);
});
