import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { zstdCompressSync } from 'node:zlib';
import { referenceSetOf } from '@kallio/appraisal';
import { digestOf, fromHex } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Watched } from '../src/continuous/watched.ts';
import { kallio } from '../src/site/kallio.ts';
import { referenceValues } from '../src/site/measuring/kernel.ts';

let watched: Watched;
beforeAll(async () => {
  watched = await Watched.create();
  await watched.kernel.use(0, 20);
  await watched.startAgent();
  await watched.shownAs('the attester to be verified', ({ state }) => state === 'VERIFIED');
});
afterAll(() => watched.destroy());

const explain = (subject: string) => kallio(['explain', subject], watched.operator);

describe('a result', () => {
  it('is made again from what it rests on, byte for byte', async () => {
    const { exit, json } = await explain('build-1');
    expect(json).toMatchObject({ rederived: 'same', differences: [], platform: { state: 'VERIFIED' } });
    expect(json).toMatchObject({ checks: expect.arrayContaining([expect.objectContaining({ held: true })]) });
    expect(exit).toBe(0);
  });

  it('is made again also where it goes on from earlier evidence', async () => {
    await watched.kernel.use(20, 25);
    const { result = '' } = await watched.push();
    const { exit, json } = await explain(result);
    expect(exit).toBe(0);
    expect(json).toMatchObject({ rederived: 'same', previous: expect.stringMatching(/^sha256:/) });
  });

  it('that is not VERIFIED is walked down to the line that is the reason', async () => {
    // The policy knows 5,000 files: this is another one.
    await watched.kernel.use(5000, 5001);
    const { result = '', state } = await watched.push();
    expect(state).toBe('VIOLATED');
    const { exit, json } = await explain(result);
    expect(exit).toBe(0);
    expect(json).toMatchObject({
      rederived: 'same',
      platform: {
        state: 'VIOLATED',
        refusals: [
          {
            code: 'IMA_FILE_UNKNOWN',
            pointer: 'ima:26',
            shows: [
              expect.stringMatching(/^entry 26, ima-ng: sha256:[0-9a-f]{64} {2}\/usr\/bin\/tool-5000$/),
            ],
          },
        ],
      },
    });
  });

  it('is not made again from a policy that somebody exchanged in the store', async () => {
    const { result = '' } = await watched.shown();
    const db = new DatabaseSync(join(watched.dir, 'server', 'store.sqlite'));
    const row = db.prepare('SELECT digest, bytes FROM used_policies').get();
    const put = db.prepare('UPDATE used_policies SET bytes = ? WHERE digest = ?');
    put.run(zstdCompressSync(Buffer.from('{"policy":"another"}')), row?.digest ?? '');
    try {
      const { exit, error } = await explain(result);
      expect(error?.code).toBe('EXPLAIN_MATERIAL');
      expect(exit).toBe(1);
    } finally {
      put.run(row?.bytes ?? null, row?.digest ?? '');
      db.close();
    }
    expect((await explain(result)).exit).toBe(0);
  });
});

describe('a result by a policy whose reference values lie in a set of their own', () => {
  let set: string;
  const policy = () => join(watched.dir, 'with-set.json');

  beforeAll(async () => {
    const values = referenceSetOf(
      'file',
      32,
      referenceValues(5002).map((digest) => fromHex(digest)),
    );
    const bytes = values.toBytes();
    await mkdir(join(watched.dir, 'sets'));
    set = join(watched.dir, 'sets', `${digestOf(bytes).slice('sha256:'.length)}.kref`);
    await writeFile(set, bytes);
    const before = JSON.parse(await readFile(join(watched.dir, 'policy.json'), 'utf8'));
    const named = { name: 'tools', digest: digestOf(bytes), bytes: bytes.length };
    const reference = { ...before.reference, ima: { classes: [{ name: 'tools', sets: [named] }] } };
    await writeFile(policy(), JSON.stringify({ ...before, id: 'watched-2', reference }));
    const done = await kallio(['policy', 'set', '--kind', 'builder', policy()], watched.operator);
    expect(done.error).toBeUndefined();
  });

  it('is made again by whoever brings that set, and by nobody else', async () => {
    const { result = '', state } = await watched.push();
    expect(state).toBe('VERIFIED');
    const without = await explain(result);
    expect(without).toMatchObject({ exit: 1, error: { code: 'EXPLAIN_REFERENCE_SET' } });
    const { exit, json } = await kallio(['explain', result, '--reference-set', set], watched.operator);
    expect(json).toMatchObject({ rederived: 'same', policy: { id: 'watched-2' } });
    expect(exit).toBe(0);
  });
});
