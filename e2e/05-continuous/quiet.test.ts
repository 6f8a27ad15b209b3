import { eventsList } from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Watched } from '../src/continuous/watched.ts';

let watched: Watched;
beforeAll(async () => {
  watched = await Watched.create({ staleSeconds: 4 });
  await watched.startAgent(1);
  await watched.shownAs('the attester to be verified', ({ state }) => state === 'VERIFIED');
});
afterAll(() => watched.destroy());

/** The states that were told, in order. */
async function told(): Promise<string[]> {
  const { events } = await watched.admin.call(eventsList, { query: {} });
  return events.flatMap((event) => (event.type === 'attester.state' ? [event.data.to] : []));
}

describe('an attester that goes quiet', () => {
  it('turns STALE by the server’s clock, which is told, and is VERIFIED again once it is heard', async () => {
    watched.wire.cut();
    const stale = await watched.shownAs('the attester to be stale', ({ state }) => state === 'STALE');
    expect(stale.reasons).toMatchObject([{ code: 'RESULT_STALE' }]);
    watched.wire.mend();
    const again = await watched.shownAs('the attester to be heard', ({ state }) => state === 'VERIFIED', 60);
    expect(again.reachability).toBe('reachable');
    expect(await told()).toEqual(['VERIFIED', 'STALE', 'VERIFIED']);
  });

  it('whose agent was stopped said so, and is told apart from one that is not well', async () => {
    await watched.stopAgent();
    const gone = await watched.shown();
    expect(gone.reachability).toBe('unreachable');
    expect(['VERIFIED', 'STALE']).toContain(gone.state);
    await watched.startAgent(1);
    await watched.shownAs('the attester to be back', (now) => now.reachability === 'reachable');
    expect(await told()).not.toContain('VIOLATED');
  });
});
