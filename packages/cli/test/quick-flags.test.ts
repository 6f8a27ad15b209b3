import { Command } from 'commander';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { verifyCommand } from '../src/commands/verify.ts';
import { EXIT } from '../src/output/exit.ts';
import { Output } from '../src/output/output.ts';
import { plainFlags } from '../src/quick/flags.ts';

/** What the whole command reads of a command line; undefined where it refuses it. */
function wholly(args: readonly string[]) {
  const streams = { out: () => undefined, err: () => undefined, isTerminal: false };
  const command = verifyCommand({ output: new Output(streams, false), exit: EXIT.ok })
    .option('--json')
    .exitOverride()
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  let read: { readonly image: string; readonly flags: object } | undefined;
  command.action((image: string, flags: object) => {
    read = { image, flags };
  });
  try {
    new Command('kallio')
      .exitOverride()
      .addCommand(command)
      .parse(['verify', ...args], { from: 'user' });
  } catch {
    return undefined;
  }
  return read;
}

const word = fc.constantFrom(
  ...['--policy', '--key-out', '--bundle', '--proof', '--evidence', '--json', '--help', '-h', '--', '-'],
  ...['--policy=p', '--nothing', '', 'host/app:1', 'policy.json', 'a b'],
);
const options = fc.constantFrom('--policy', '--key-out', '--bundle', '--proof');
/** Mostly an option with its value, so that some command lines are plain. */
const piece = fc.oneof(
  { weight: 2, arbitrary: fc.tuple(options, fc.constantFrom('a', 'b c')) },
  fc.tuple(word),
);

it('reads a plain command line as the whole command does', () => {
  expect(plainFlags(['host/app:1', '--policy', 'p'])).toEqual({
    image: 'host/app:1',
    flags: { policy: 'p' },
    json: false,
  });
  let plain = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const args = pieces.flat();
      const asked = plainFlags(args);
      if (asked === undefined) return;
      plain++;
      const { json, image, flags } = asked;
      expect(wholly(args)).toEqual({ image, flags: { ...flags, ...(json ? { json } : {}) } });
    }),
    { numRuns: 5000 },
  );
  expect(plain).toBeGreaterThan(20);
});

it('leaves to the whole command what is not plain, and what it would refuse', () => {
  for (const args of [
    [],
    ['host/app:1'],
    ['--policy', 'p'],
    ['host/app:1', '--policy'],
    ['host/app:1', '--policy', '--json'],
    ['host/app:1', '--policy', 'p', '--policy', 'q'],
    ['host/app:1', 'host/app:2', '--policy', 'p'],
    ['host/app:1', '--policy', 'p', '--help'],
    ['host/app:1', '--policy=p'],
    ['', '--policy', 'p'],
  ])
    expect(plainFlags(args)).toBeUndefined();
});
