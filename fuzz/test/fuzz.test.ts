import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@kallio/codec';
import { afterAll, describe, expect, it } from 'vitest';
import { attack } from '../src/attack.ts';
import { mutate } from '../src/mutate.ts';
import { Random } from '../src/random.ts';
import { run } from '../src/run.ts';
import { TARGETS as REAL } from '../src/targets/index.ts';
import { TARGETS } from './planted.ts';

const module = import.meta.resolve('./planted.ts');
const RUNS = 60_000;

async function attacked(name: string, seed = 1) {
  const target = await TARGETS.get(name)?.('');
  if (target === undefined) throw new Error(name);
  return attack(target, seed, ({ runs }) => runs >= RUNS);
}

describe('an attack', () => {
  it('finds a mistake, the same again for the same seed, and none where there is none', async () => {
    const { tally, finding } = await attacked('behind two refusals');
    expect(finding?.error).toBeInstanceOf(TypeError);
    expect([...(finding?.input ?? [])].slice(0, 3)).toEqual([0x41, 0x42, 0x80]);
    expect(await attacked('behind two refusals')).toEqual({ tally, finding });
    const sound = await attacked('sound');
    expect(sound.finding).toBeUndefined();
    expect(sound.tally).toMatchObject({ runs: RUNS, refusals: 3 });
  });

  it('finds that what is honest is refused', async () => {
    expect((await attacked('that refuses what is honest')).finding?.error).toMatchObject({ code: 'FIRST' });
  });

  it('finds what does not end, and what takes all memory', async () => {
    const task = { module, seed: 1, milliseconds: 60_000 };
    for (const [target, error, patienceMs] of [
      ['without end', 'no end', 2000],
      ['without bound', 'memory', 40_000],
    ] as const) {
      const { finding } = await run({ ...task, target }, patienceMs);
      expect(finding?.error).toContain(error);
      expect(finding?.input[2]).toBe(0x80);
    }
  }, 60_000);

  it('reads one input again', async () => {
    const task = { module, target: 'behind two refusals', seed: 1, milliseconds: 1 };
    const once = async (text: Uint8Array) => run({ ...task, input: text });
    expect(await once(utf8('AB ok'))).toEqual({ tally: { runs: 1, taken: 1, refusals: 0 } });
    expect(await once(utf8('nothing'))).toEqual({ tally: { runs: 1, taken: 0, refusals: 1 } });
    expect((await once(Uint8Array.of(0x41, 0x42, 0x80, 0, 0))).finding?.error).toContain('TypeError');
  });
});

describe('hostile input', () => {
  it('differs, and of JSON is often JSON', () => {
    const random = new Random(7);
    const honest = utf8(
      JSON.stringify({ a: [1, 'x'], b: Buffer.from('{"c":"inside of it"}').toString('base64') }),
    );
    const made = Array.from({ length: 2000 }, () => Buffer.from(mutate(random, honest, honest)).toString());
    expect(new Set(made).size).toBeGreaterThan(1000);
    const documents = made.flatMap((text) => {
      try {
        return [JSON.parse(text)];
      } catch {
        return [];
      }
    });
    expect(documents.length).toBeGreaterThan(500);
    const inside = documents.map((document) => Buffer.from(String(document?.b), 'base64').toString());
    expect(
      inside.filter((text) => text.startsWith('{"') && !text.includes('"inside of it"')).length,
    ).toBeGreaterThan(9);
  });
});

describe('each target', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kallio-fuzz-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each([...REAL])('%s takes what is honest, and refuses what is not', async (name, make) => {
    const target = await make(join(folder, name));
    const { tally, finding } = await attack(target, 1, ({ runs }) => runs >= 300);
    expect(finding).toBeUndefined();
    expect(tally.taken).toBeGreaterThanOrEqual(target.seeds.length);
    expect(tally.refusals).toBeGreaterThan(0);
  });
});
