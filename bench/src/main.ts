import type { Row } from './row.ts';

/*
 * npm run bench -- NAME [--json]
 * A benchmark is a file of this folder that exports `run(): Promise<Row[]>`. Exit code 0 when every bar holds.
 */
const benchmarks: ReadonlyMap<string, () => Promise<{ run(): Promise<Row[]> }>> = new Map([
  ['tpm', () => import('./tpm.ts')],
  ['appraisal', () => import('./appraisal/main.ts')],
  ['reference', () => import('./reference.ts')],
  ['signature', () => import('./signature/main.ts')],
  ['build', () => import('./build.ts')],
]);

const [name, ...flags] = process.argv.slice(2);
const load = benchmarks.get(name ?? '');
if (load === undefined || flags.some((flag) => flag !== '--json')) {
  process.stderr.write(`usage: npm run bench -- ${[...benchmarks.keys()].join('|')} [--json]\n`);
  process.exitCode = 2;
} else {
  const rows = await (await load()).run();
  if (flags.includes('--json')) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else for (const row of rows) process.stdout.write(`${line(row)}\n`);
  process.exitCode = rows.every((row) => row.holds) ? 0 : 1;
}

function line(row: Row): string {
  const mark = row.holds ? '✔' : '✘';
  return `${mark} ${row.name}: ${round(row.figure)} ${row.unit} beside ${row.beside}: ${round(row.besideFigure)} (ratio ${round(row.ratio)}; bar: ${row.bar})`;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
