import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Watched } from '../src/continuous/watched.ts';
import { kallio } from '../src/site/kallio.ts';

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
