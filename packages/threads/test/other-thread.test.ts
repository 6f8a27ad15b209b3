import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type Answers, OtherThread } from '../src/index.ts';

/** What is asked of a thread that these tests make. */
type Ask =
  | { readonly say: string }
  | { readonly refuse: string }
  | { readonly throw: string }
  /** Keeps the thread until the gate is opened. */
  | { readonly hold: string }
  | { readonly swallow: true };

/** What was said, and which of the thread's calls it was answered in, with how many others. */
interface Said {
  readonly said: string;
  readonly call: number;
  readonly among: number;
}

/** What a thread is made for: how it begins what it says, and a gate: 1 once it waits there, 2 once it may go on. */
interface Made {
  readonly prefix: string;
  readonly gate: Int32Array;
}

/** Answers as it is asked to. It runs on the other thread, and sees nothing of this file. */
function obedient(_: typeof import('node:util'), { prefix, gate }: Made): Answers<Ask, Said> {
  let calls = 0;
  return (asks) => {
    const call = calls++;
    const answers: (Said | Error)[] = [];
    for (const ask of asks) {
      if ('throw' in ask) throw new Error(ask.throw);
      if ('swallow' in ask) continue;
      if ('refuse' in ask) {
        answers.push(new Error(ask.refuse));
        continue;
      }
      if ('hold' in ask) {
        Atomics.store(gate, 0, 1);
        Atomics.wait(gate, 0, 1);
      }
      answers.push({ said: `${prefix}${'hold' in ask ? ask.hold : ask.say}`, call, among: asks.length });
    }
    return answers;
  };
}

const twice = (n: number) => 2 * n;

function less(n: number): number {
  return n - 1;
}

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

interface Held {
  readonly one: OtherThread<Ask, Said>;
  /** Comes once the thread waits at the gate. */
  readonly waits: () => Promise<void>;
  readonly open: () => void;
}

function thread(options: { together?: number; onEnd?: () => void; prefix?: string } = {}): Held {
  const { prefix = '', ...others } = options;
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const one = new OtherThread<Ask, Said>({
    module: "import('node:util')",
    work: obedient,
    data: { prefix, gate } satisfies Made,
    ...others,
  });
  open.push(one);
  return {
    one,
    waits: async () => {
      while (Atomics.load(gate, 0) !== 1) await sleep(1);
    },
    open: () => {
      Atomics.store(gate, 0, 2);
      Atomics.notify(gate, 0);
    },
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const said = (said: string) => expect.objectContaining({ said });
const uncloneable = expect.stringMatching(/could not be cloned/);
const names = (count: number, name = 'n') => Array.from({ length: count }, (_, i) => `${name}${i}`);

/** What became of each. */
const outcomes = async (all: readonly Promise<Said>[]) =>
  (await Promise.allSettled(all)).map((one) =>
    one.status === 'fulfilled' ? one.value.said : String(one.reason?.message),
  );

describe('another thread', () => {
  it('answers each of many with its own answer, whatever turn it came in', async () => {
    const { one } = thread({ together: 3 });
    const all: Promise<Said>[] = [];
    for (let i = 0; i < 20; i++) {
      for (const name of names(i % 5, `${i}-`)) all.push(one.ask({ say: name }));
      await turn();
    }
    const expected = Array.from({ length: 20 }, (_, i) => names(i % 5, `${i}-`)).flat();
    expect((await Promise.all(all)).map(({ said }) => said)).toEqual(expected);
  });

  it('works with the data that it is made for', async () => {
    const { one } = thread({ prefix: 'dear ' });
    expect(await one.ask({ say: 'a' })).toEqual(said('dear a'));
  });

  it('works with functions that were taken over with it, each in its place', async () => {
    const one = new OtherThread<number, number>({
      module: "import('node:util')",
      work: (_: unknown, __: unknown, a: typeof twice, b: typeof less) => (asked) =>
        asked.map((n) => a(b(n))),
      parts: [twice, less],
    });
    open.push(one);
    expect(await Promise.all([one.ask(5), one.ask(1)])).toEqual([8, 0]);
  });

  it('answers in parts what was asked at one time, and the first without waiting for the rest', async () => {
    const { one } = thread({ together: 2 });
    const all = await Promise.all(names(5).map((say) => one.ask({ say })));
    expect(all.map(({ call, among }) => [call, among])).toEqual([
      [0, 2],
      [0, 2],
      [1, 2],
      [1, 2],
      [2, 1],
    ]);
  });

  it('is asked in one message for what came in one turn, and in another for the next', async () => {
    const { one } = thread();
    const first = await Promise.all(names(5).map((say) => one.ask({ say })));
    expect(first.map(({ call, among }) => [call, among])).toEqual(names(5).map(() => [0, 5]));
    expect(await one.ask({ say: 'later' })).toMatchObject({ call: 1, among: 1 });
  });

  it.each([
    ['merges messages that wait, up to as many as are wanted together', 4, [1, 4, 4, 2]],
    ['leaves messages by themselves where nobody wants them together', 1, names(11).map(() => 1)],
  ])('%s', async (_, together, sizes) => {
    const { one, waits, open } = thread({ together });
    const all = [one.ask({ hold: 'held' })];
    await waits();
    // Each goes there in a message of its own, while the first keeps the thread.
    for (const say of names(10)) {
      all.push(one.ask({ say }));
      await turn();
    }
    open();
    const answers = await Promise.all(all);
    expect(answers.map(({ said }) => said)).toEqual(['held', ...names(10)]);
    expect([...new Map(answers.map(({ call, among }) => [call, among])).values()]).toEqual(sizes);
  });

  it('refuses one question alone that has an Error for an answer', async () => {
    const { one } = thread();
    const asked = [one.ask({ say: 'a' }), one.ask({ refuse: 'not that' }), one.ask({ say: 'c' })];
    expect(await outcomes(asked)).toEqual(['a', 'not that', 'c']);
    // The same without the refusal, of the same thread.
    const again = [one.ask({ say: 'a' }), one.ask({ say: 'b' }), one.ask({ say: 'c' })];
    expect(await outcomes(again)).toEqual(['a', 'b', 'c']);
    expect(await one.ask({ say: 'd' })).toMatchObject({ call: 2 });
  });
});

describe('a thread that ended', () => {
  it('has refused all that was asked of it, says so once, and is followed by another', async () => {
    let ends = 0;
    const { one, waits, open } = thread({ onEnd: () => ends++ });
    expect(await one.ask({ say: 'first' })).toMatchObject({ call: 0 });
    const there = [one.ask({ hold: 'held' }), one.ask({ throw: 'broken' })];
    await waits();
    const there2 = one.ask({ say: 'waits there' });
    await turn();
    open();
    // Not sent yet when the thread ends, or only to the one that ended.
    const behind = one.ask({ say: 'behind' });
    expect(await outcomes([...there, there2, behind])).toEqual(['broken', 'broken', 'broken', 'broken']);
    expect(ends).toBe(1);
    // A thread that has been asked nothing before.
    expect(await one.ask({ say: 'again' })).toMatchObject({ said: 'again', call: 0 });
    expect(ends).toBe(1);
  });

  it('says so before anybody hears of it, so that what is asked at once is told all anew', async () => {
    const steps: string[] = [];
    const { one } = thread({ onEnd: () => steps.push('ended') });
    await one.ask({ throw: 'broken' }).catch(() => steps.push('refused'));
    expect(steps).toEqual(['ended', 'refused']);
    expect(await one.ask({ say: 'a' })).toEqual(said('a'));
  });

  it('answers nobody with the answer of another: a thread that swallows one is given up', async () => {
    const { one } = thread();
    const asked = [one.ask({ say: 'a' }), one.ask({ swallow: true }), one.ask({ say: 'c' })];
    await turn();
    const refused = 'there is not one answer for each question';
    expect(await outcomes([...asked, one.ask({ say: 'd' })])).toEqual([refused, refused, refused, refused]);
    expect(await outcomes([one.ask({ say: 'a' }), one.ask({ say: 'c' })])).toEqual(['a', 'c']);
  });

  it('could not be asked: all that would have gone there with a question that can’t go is refused', async () => {
    let ends = 0;
    const { one } = thread({ onEnd: () => ends++ });
    expect(await one.ask({ say: 'before' })).toMatchObject({ call: 0 });
    const odd = { say: (() => undefined) as unknown as string };
    expect(await outcomes([one.ask({ say: 'a' }), one.ask(odd)])).toEqual([uncloneable, uncloneable]);
    expect(ends).toBe(1);
    expect(await one.ask({ say: 'again' })).toMatchObject({ said: 'again', call: 0 });
  });

  it('reaches nobody with what it still has to say', async () => {
    const { one, waits, open } = thread();
    const held = one.ask({ hold: 'of the thread before' });
    await waits();
    // Its answer is on the way, and not read yet, at the moment when it is given up.
    setImmediate(() => {
      open();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    });
    const odd = one.ask({ say: (() => undefined) as unknown as string });
    const next = odd.catch(() => Promise.all(names(3).map((say) => one.ask({ say }))));
    expect(await outcomes([held])).toEqual([uncloneable]);
    expect(await next).toEqual(names(3).map(said));
  });

  it('never came up: what was asked is refused, each time', async () => {
    const one = new OtherThread<Ask, Said>({
      module: "import('node:util')",
      work: () => {
        throw new Error('nothing works');
      },
    });
    open.push(one);
    expect(await outcomes([one.ask({ say: 'a' })])).toEqual(['nothing works']);
    expect(await outcomes([one.ask({ say: 'a' }), one.ask({ say: 'b' })])).toEqual([
      'nothing works',
      'nothing works',
    ]);
  });
});

describe('closing', () => {
  it('refuses what is under way, what is on its way, and what comes after', async () => {
    const { one, waits } = thread();
    expect(await one.ask({ say: 'before' })).toEqual(said('before'));
    const there = one.ask({ hold: 'held' });
    await waits();
    const refused = outcomes([there, one.ask({ say: 'on its way' })]);
    await one.close();
    expect(await refused).toEqual(['the other thread ended', 'the other thread ended']);
    expect(await outcomes([one.ask({ say: 'after' })])).toEqual(['the other thread ended']);
  });

  it('refuses what was to start the thread, and it does not start', async () => {
    let ends = 0;
    const { one } = thread({ onEnd: () => ends++ });
    const refused = outcomes([one.ask({ say: 'first' })]);
    await one.close();
    expect(await refused).toEqual(['the other thread ended']);
    await sleep(20);
    expect(ends).toBe(1);
    expect(await outcomes([thread().one.ask({ say: 'first' })])).toEqual(['first']);
  });

  it('is done where nothing was ever asked', async () => {
    const { one } = thread();
    await one.close();
    expect(await outcomes([one.ask({ say: 'after' })])).toEqual(['the other thread ended']);
  });
});

it('keeps no process alive', () => {
  const source = JSON.stringify(new URL('../src/index.ts', import.meta.url).href);
  const script = `
    import { OtherThread } from ${source};
    const one = new OtherThread({ module: "import('node:util')", work: () => (asks) => asks });
    // Something else keeps it alive until there is an answer.
    const waiting = setInterval(() => {}, 1000);
    one.ask('a').then((answer) => {
      process.stdout.write(answer);
      clearInterval(waiting);
    });`;
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(child.signal, child.stderr).toBe(null);
  expect([child.status, child.stdout]).toEqual([0, 'a']);
});
