import { parseArgs } from 'node:util';
import type { Options } from './options.ts';
import type { Row } from './row.ts';

/*
 * npm run bench -- NAME [--json] [--seconds N] [--attesters N]
 * A benchmark is a file of this folder that exports `run(options): Promise<Row[]>`. Exit code 0 when every bar holds.
 */
const benchmarks: ReadonlyMap<string, () => Promise<{ run(options: Options): Promise<Row[]> }>> = new Map([
  ['tpm', () => import('./tpm.ts')],
  ['appraisal', () => import('./appraisal/main.ts')],
  ['reference', () => import('./reference.ts')],
  ['fleet', () => import('./fleet.ts')],
  ['signature', () => import('./signature/main.ts')],
  ['build', () => import('./build.ts')],
  ['agent', () => import('./agent.ts')],
]);

const asked = read();
const load = benchmarks.get(asked?.name ?? '');
if (asked === undefined || load === undefined) {
  process.stderr.write(
    `usage: npm run bench -- ${[...benchmarks.keys()].join('|')} [--json] [--seconds N] [--attesters N]\n`,
  );
  process.exitCode = 2;
} else {
  const rows = await (await load()).run(asked.options);
  if (asked.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else for (const row of rows) process.stdout.write(`${line(row)}\n`);
  process.exitCode = rows.every((row) => row.holds) ? 0 : 1;
}

function read(): { name: string; json: boolean; options: Options } | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean' },
        seconds: { type: 'string' },
        attesters: { type: 'string' },
      },
    });
    const [name, ...more] = positionals;
    const seconds = count(values.seconds);
    const attesters = count(values.attesters);
    if (name === undefined || more.length > 0) return undefined;
    return {
      name,
      json: values.json === true,
      options: {
        ...(seconds === undefined ? {} : { seconds }),
        ...(attesters === undefined ? {} : { attesters }),
      },
    };
  } catch {
    return undefined;
  }
}

function count(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new RangeError('not a count');
  return value;
}

function line(row: Row): string {
  const mark = row.holds ? '✔' : '✘';
  return `${mark} ${row.name}: ${round(row.figure)} ${row.unit} beside ${row.beside}: ${round(row.besideFigure)} (ratio ${round(row.ratio)}; bar: ${row.bar})`;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
