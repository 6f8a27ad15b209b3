import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Watched } from '../src/continuous/watched.ts';

let watched: Watched;
beforeAll(async () => {
  watched = await Watched.create();
  await watched.startAgent();
  await watched.shownAs('the attester to be verified', ({ state }) => state === 'VERIFIED');
  await watched.stopServer();
  await watched.backUp();
  await watched.startServer();
  await watched.kernel.use(0, 2000);
  await watched.push();
});
afterAll(() => watched.destroy());

/** Bytes that go over the wire meanwhile. */
async function bytesOf(work: () => Promise<unknown>): Promise<number> {
  const before = watched.wire.bytes;
  await work();
  return watched.wire.bytes - before;
}

describe('a machine that is attested continuously', () => {
  it('sends at most 4 KB a cycle while nothing changes, over a connection that stays', async () => {
    await watched.push();
    const { connections } = watched.wire;
    for (let i = 0; i < 3; i++) {
      // What TLS and the push itself add is counted as well.
      expect(await bytesOf(() => watched.push())).toBeLessThan(4096);
    }
    expect(watched.wire.connections).toBe(connections);
  });

  it('sends what the kernel has measured since, and no more', async () => {
    await watched.kernel.use(2000, 2010);
    const bytes = await bytesOf(() => watched.push());
    expect(bytes).toBeGreaterThan(1000);
    expect(bytes).toBeLessThan(8192);
    expect(await watched.shown()).toMatchObject({ state: 'VERIFIED' });
  });

  it('shows many new files at once, without being asked', async () => {
    const { result } = await watched.shown();
    await watched.kernel.use(2010, 2100);
    const shown = await watched.shownAs('new evidence', (now) => now.result !== result, 10);
    expect(shown.state).toBe('VERIFIED');
  });

  it('goes on where it was after its agent was started anew', async () => {
    const { result } = await watched.shown();
    const bytes = await bytesOf(async () => {
      await watched.stopAgent();
      await watched.startAgent();
      await watched.shownAs('new evidence', (now) => now.result !== result);
    });
    // 2,100 entries are 200 KB; two pieces of evidence, a certificate and handshakes are not.
    expect(bytes).toBeLessThan(30_000);
    expect(await watched.push()).toMatchObject({ state: 'VERIFIED' });
  });

  it('goes on after the server was started anew in the middle of a cycle', async () => {
    const pushed = watched.push().catch(() => undefined);
    await watched.stopServer();
    await watched.startServer();
    await pushed;
    const bytes = await bytesOf(() => watched.push());
    expect(bytes).toBeLessThan(30_000);
    expect(await watched.shown()).toMatchObject({ state: 'VERIFIED' });
  });

  it('begins again from zero for a server that lost what it had', async () => {
    await watched.stopServer();
    await watched.restore();
    await watched.startServer();
    // It has the enrolment and one entry of the list; the agent shows it the other 2,099 again.
    const bytes = await bytesOf(() => watched.push());
    expect(bytes).toBeGreaterThan(200_000);
    expect(await watched.shown()).toMatchObject({ state: 'VERIFIED', reasons: [] });
  });

  it('after a reboot begins its logs anew', async () => {
    const { boot = 0 } = await watched.shown();
    await watched.stopAgent();
    await watched.powerOff();
    await watched.powerOn();
    await watched.kernel.use(0, 5);
    await watched.startAgent();
    const shown = await watched.shownAs('the next boot', (now) => (now.boot ?? 0) > boot);
    expect(shown.state).toBe('VERIFIED');
  });
});
