import { describe, expect, it } from 'vitest';
import type { Context } from '../src/context.ts';
import { Output } from '../src/output/output.ts';
import { untilEnded } from '../src/waiting.ts';

/** An operation that has ended when it was asked about so often. */
function operation(asks: number) {
  let asked = 0;
  return {
    name: 'The operation 7',
    ask: async () => {
      asked += 1;
      return asked;
    },
    ended: (times: number) => times >= asks,
    state: () => 'PROCESSING',
    hint: 'kallio apps list',
  };
}

const context: Context = {
  output: new Output({ out: () => undefined, err: () => undefined, isTerminal: false }, true),
  exit: 0,
};

describe('waiting for what goes on in the server', () => {
  it('gives how it ended', async () => {
    expect(await untilEnded(context, { wait: '60' }, operation(3))).toBe(3);
  });

  it('ends with CLI_WAIT, and says how it stood, when the time that was given is over', async () => {
    await expect(untilEnded(context, { wait: '0' }, operation(1000))).rejects.toMatchObject({
      code: 'CLI_WAIT',
      message: expect.stringContaining('within 0 s: PROCESSING'),
    });
  });

  it.each(['', '-1', '1.5', 'ten'])('refuses the time "%s"', async (wait) => {
    await expect(untilEnded(context, { wait }, operation(1))).rejects.toMatchObject({ code: 'USAGE' });
  });
});
