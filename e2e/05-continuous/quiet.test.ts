import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type AttesterSummary, eventsList } from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
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

  it('whose TPM takes its time is slow meanwhile, and neither quiet nor violated', async () => {
    const slow = await watched.whileTpmStalls(() =>
      watched.shownAs('the attester to be slow', ({ reachability }) => reachability === 'slow'),
    );
    expect(['VERIFIED', 'STALE']).toContain(slow.state);
    const well = (now: AttesterSummary) => now.reachability === 'reachable' && now.state === 'VERIFIED';
    await watched.shownAs('the attester to be in time again', well);
    expect(await told()).not.toContain('VIOLATED');
  });

  it('whose machine reboots said so, and is told apart from one whose agent ended', async () => {
    // What systemd answers while it takes a machine down.
    const systemctl = join(watched.dir, 'going-down', 'systemctl');
    await mkdir(dirname(systemctl));
    await writeFile(systemctl, '#!/bin/sh\n[ "$1" = is-system-running ] && echo stopping\nexit 1\n', {
      mode: 0o755,
    });
    vi.stubEnv('PATH', `${dirname(systemctl)}:${process.env.PATH}`);
    await watched.stopAgent();
    vi.unstubAllEnvs();
    expect((await watched.shown()).reachability).toBe('rebooting');
    await watched.powerOff();
    await watched.powerOn();
    await watched.startAgent(1);
    const well = (now: AttesterSummary) => now.reachability === 'reachable' && now.state === 'VERIFIED';
    await watched.shownAs('the attester to be back', well);
    expect(await told()).not.toContain('VIOLATED');
    // The same agent, ended while the machine goes on.
    await watched.stopAgent();
    expect((await watched.shown()).reachability).toBe('unreachable');
  });
});
