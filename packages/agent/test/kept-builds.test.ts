import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeShape } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type KeptBuild, KeptBuilds } from '../src/kept-builds.ts';

const examples = join(import.meta.dirname, '../../../docs/examples');
const [opening, closing] = JSON.parse(readFileSync(join(examples, 'evidence.json'), 'utf8')).map(
  (message: unknown) => decodeShape(EvidenceMessage, message, 'TEST', 'the example'),
) as [EvidenceMessage, EvidenceMessage];
const id = (n: number) => `session-${String(n).padStart(4, '0')}`;
const build = (since: number): KeptBuild => ({ since, shown: [opening] });

let dir: string;
const files = () => readdirSync(join(dir, 'build-sessions')).sort();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-builds-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('the sessions that an agent keeps', () => {
  it('are there again after a restart, as far as they had come', async () => {
    const kept = await KeptBuilds.load(dir);
    await Promise.all([kept.put(id(1), build(1)), kept.put(id(2), build(2)), kept.put(id(3), build(3))]);
    await Promise.all([kept.put(id(1), { ...build(1), shown: [opening, closing] }), kept.forget(id(2))]);
    const again = await KeptBuilds.load(dir);
    expect(again.get(id(1))?.shown).toEqual([opening, closing]);
    expect(again.get(id(2))).toBeUndefined();
    expect(again.get(id(3))).toEqual(build(3));
  });

  it('are taken over from an agent that kept all of them in one file', async () => {
    writeFileSync(
      join(dir, 'build-sessions.json'),
      JSON.stringify({ [id(1)]: [opening], [id(2)]: [opening, closing] }),
    );
    const kept = await KeptBuilds.load(dir);
    expect(kept.get(id(1))?.shown).toEqual([opening]);
    expect(kept.get(id(2))?.shown).toEqual([opening, closing]);
    expect(readdirSync(dir)).toEqual(['build-sessions']);
    expect((await KeptBuilds.load(dir)).get(id(2))).toEqual(kept.get(id(2)));
  });

  it('are a bounded number, the oldest forgotten first; of finished ones, the last few', async () => {
    const kept = await KeptBuilds.load(dir);
    for (let n = 0; n < 66; n++) await kept.put(id(n), build(n));
    expect(files()).toHaveLength(64);
    expect([kept.get(id(1)), kept.get(id(2))]).toEqual([undefined, build(2)]);
    for (let n = 2; n < 20; n++) await kept.finish(id(n));
    expect([kept.get(id(11)), kept.get(id(12))]).toEqual([undefined, build(12)]);
    expect(files()).toHaveLength(54);
    // Also after a restart the oldest is the one that was opened first.
    const again = await KeptBuilds.load(dir);
    for (let n = 66; n < 77; n++) await again.put(id(n), build(n));
    expect([again.get(id(12)), again.get(id(13))]).toEqual([undefined, build(13)]);
  });

  it('are not read from what is none: the file is named', async () => {
    mkdirSync(join(dir, 'build-sessions'));
    const file = join(dir, 'build-sessions', `${id(1)}.json`);
    for (const text of [
      '{"since":1,"shown":[]}',
      '{}',
      `{"since":1,"shown":[${JSON.stringify(opening)}],"more":1}`,
    ]) {
      writeFileSync(file, text);
      await expect(KeptBuilds.load(dir)).rejects.toThrow(expect.objectContaining({ code: 'AGENT_CONFIG' }));
    }
    writeFileSync(file, JSON.stringify(build(1)));
    // What a crash left of a write, and what is no session's file, is none.
    writeFileSync(`${file}.${'0'.repeat(16)}.new`, '{"since"');
    writeFileSync(join(dir, 'build-sessions', 'notes.txt'), '');
    expect((await KeptBuilds.load(dir)).get(id(1))).toEqual(build(1));
    expect(files()).toEqual(['notes.txt', `${id(1)}.json`]);
  });
});
