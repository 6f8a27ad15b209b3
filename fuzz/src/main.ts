import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { digestOf } from '@kallio/codec';
import { run } from './run.ts';
import { TARGETS } from './targets/index.ts';
import type { Report } from './worker.ts';

/*
 * npm run test:fuzz -- [TARGET…] [--seconds N] [--seed N] [--json]     each target so long (20)
 * npm run test:fuzz -- TARGET --input FILE                             what was found, once more
 * Exit code 0 where everything was taken or refused, 1 where something was found, 2 for another command line.
 */
const FINDINGS = 'fuzz/findings';

interface Asked {
  readonly targets: readonly string[];
  readonly seconds: number;
  readonly seed: number;
  readonly json: boolean;
  readonly input?: string;
}

const asked = read();
if (asked === undefined) {
  process.stderr.write(
    `usage: npm run test:fuzz -- [${[...TARGETS.keys()].join('|')}…] [--seconds N] [--seed N] [--json]\n` +
      '       npm run test:fuzz -- TARGET --input FILE\n',
  );
  process.exitCode = 2;
} else {
  const rows = [];
  for (const target of asked.targets) {
    const report = await run({
      module: import.meta.resolve('./targets/index.ts'),
      target,
      seed: asked.seed,
      milliseconds: asked.seconds * 1000,
      ...(asked.input === undefined ? {} : { input: new Uint8Array(readFileSync(asked.input)) }),
    });
    const row = { target, seed: asked.seed, ...report.tally, ...kept(target, report) };
    rows.push(row);
    if (!asked.json) process.stdout.write(line(row));
  }
  if (asked.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  process.exitCode = rows.some((row) => 'error' in row) ? 1 : 0;
}

/** Keeps what was found in a file, to be read again. */
function kept(target: string, { finding }: Report): { file?: string; error?: string } {
  if (finding === undefined) return {};
  mkdirSync(FINDINGS, { recursive: true });
  const file = join(FINDINGS, `${target}-${digestOf(finding.input).slice(7, 19)}`);
  writeFileSync(file, finding.input);
  return { file, error: finding.error };
}

interface Row {
  readonly target: string;
  readonly runs: number;
  readonly taken: number;
  readonly refusals: number;
  readonly file?: string;
  readonly error?: string;
}

function line({ target, runs, taken, refusals, file, error }: Row): string {
  if (error === undefined) {
    return `✓ ${target.padEnd(18)} ${runs.toLocaleString('en')} inputs, ${taken.toLocaleString('en')} taken, the others refused in ${refusals} ways\n`;
  }
  return `✗ ${target}: ${error}\n  again: npm run test:fuzz -- ${target} --input ${file}\n`;
}

function read(): Asked | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seconds: { type: 'string', default: '20' },
        seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
        input: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
    const known = positionals.every((name) => TARGETS.has(name));
    if (!known || !(seconds > 0) || !Number.isSafeInteger(seed)) return undefined;
    if (values.input !== undefined && positionals.length !== 1) return undefined;
    const targets = positionals.length === 0 ? [...TARGETS.keys()] : positionals;
    const { input, json } = values;
    return { targets, seconds, seed, json, ...(input === undefined ? {} : { input }) };
  } catch {
    return undefined;
  }
}
