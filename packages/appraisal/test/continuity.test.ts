import { describe, expect, it } from 'vitest';
import { type Appraisal, continuityFromJson, continuityToJson } from '../src/index.ts';
import { codes, judge } from './support/appraise.ts';
import { type Changes, question, SoftwareAttester } from './support/attester.ts';

/** Shows evidence that goes on from what was kept. */
function showAgain(attester: SoftwareAttester, previous: Appraisal['next'], change: Changes = {}): Appraisal {
  const asked = question();
  const from = change.from ?? previous?.instanceLog.entries ?? 0;
  const message = attester.show(asked, { ...change, from });
  return judge(attester, message, asked, previous === undefined ? {} : { previous });
}

describe('boots and clocks', () => {
  it('accepts a second quote of one boot, and one of the next boot', () => {
    const attester = new SoftwareAttester();
    const first = showAgain(attester, undefined);
    const second = showAgain(attester, first.next);
    expect(second.platform.state).toBe('VERIFIED');
    attester.reboot();
    const third = showAgain(attester, second.next, { from: 0 });
    expect(third.platform.state).toBe('VERIFIED');
    expect(third.boot?.resetCount).toBe(8);
  });

  it('refuses a resetCount that went back, and keeps the counters it has seen', () => {
    const attester = new SoftwareAttester();
    const first = showAgain(attester, undefined);
    attester.resetCount--;
    attester.clock += 1000n;
    const back = showAgain(attester, first.next);
    expect(codes(back)).toEqual(['RESET_COUNT_WENT_BACK']);
    expect(back.platform.state).toBe('VIOLATED');
    expect(back.authentic).toBe(true);
    expect(back.next).toEqual(first.next);
    expect(back.next).not.toBe(first.next);
  });

  it('refuses a restartCount that went back within a boot', () => {
    const attester = new SoftwareAttester();
    attester.restartCount = 2;
    const first = showAgain(attester, undefined);
    attester.restartCount = 1;
    expect(codes(showAgain(attester, first.next))).toEqual(['RESTART_COUNT_WENT_BACK']);
  });

  it('does not call a clock that went back after a power cut an attack', () => {
    const attester = new SoftwareAttester();
    const first = showAgain(attester, undefined);
    attester.reboot();
    attester.clock = 50_000n;
    attester.safe = false;
    expect(showAgain(attester, first.next, { from: 0 }).platform.state).toBe('VERIFIED');
  });

  it('refuses a clock that went back although the TPM vouches for it', () => {
    const attester = new SoftwareAttester();
    const first = showAgain(attester, undefined);
    attester.reboot();
    attester.clock = 50_000n;
    const back = showAgain(attester, first.next, { from: 0 });
    expect(codes(back)).toEqual(['CLOCK_ROLLED_BACK']);
    expect(back.platform.state).toBe('VIOLATED');
  });

  it('refuses evidence that is older than what was judged, and says nothing against the machine', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const held = attester.show(asked);
    const first = showAgain(attester, undefined);
    const late = judge(attester, held, asked, first.next === undefined ? {} : { previous: first.next });
    expect(codes(late)).toEqual(['CLOCK_WENT_BACK']);
    expect(late.platform.state).toBe('UNKNOWN');
    expect(judge(attester, held, asked).platform.state).toBe('VERIFIED');
  });

  it('refuses another TPM firmware within a boot, and accepts it after a reset', () => {
    const attester = new SoftwareAttester();
    const first = showAgain(attester, undefined);
    attester.firmwareVersion++;
    const changed = showAgain(attester, first.next);
    expect(codes(changed)).toEqual(['FIRMWARE_VERSION_CHANGED']);
    attester.reboot();
    expect(showAgain(attester, changed.next, { from: 0 }).platform.state).toBe('VERIFIED');
  });
});

describe('the position in the instance log', () => {
  it('goes on from what was judged, and starts at zero in a new boot', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1' });
    const first = showAgain(attester, undefined);
    expect(first.next?.instanceLog.entries).toBe(1);
    attester.record({ verb: 'delete', container: 'c1' });
    const second = showAgain(attester, first.next);
    expect(second.platform.state).toBe('VERIFIED');
    expect(second.next?.instanceLog).toMatchObject({ entries: 2, containers: [] });
    attester.reboot();
    expect(showAgain(attester, second.next, { from: 0 }).next?.instanceLog.entries).toBe(0);
  });

  it('refuses entries that are skipped or shown twice, and a position kept across a boot', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1' });
    attester.record({ verb: 'delete', container: 'c1' });
    const first = showAgain(attester, undefined);
    for (const from of [0, 1, 3]) {
      const wrong = showAgain(attester, first.next, { from });
      expect(codes(wrong)).toContain('LOG_POSITION');
      expect(wrong.platform.state).toBe('UNKNOWN');
      expect(wrong.next?.instanceLog).toEqual(first.next?.instanceLog);
    }
    attester.reboot();
    const kept = showAgain(attester, first.next, { from: 2 });
    expect(codes(kept)).toContain('LOG_POSITION');
    expect(kept.next?.instanceLog.entries).toBe(0);
  });

  it('goes on after a suspend that kept the PCRs, and begins anew after one that did not', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1' });
    const first = showAgain(attester, undefined);
    attester.restartCount++;
    const resumed = showAgain(attester, first.next);
    expect(resumed.platform.state).toBe('VERIFIED');
    attester.reboot();
    attester.resetCount--;
    attester.restartCount = 2;
    expect(showAgain(attester, resumed.next, { from: 0 }).platform.state).toBe('VERIFIED');
  });

  it.each<[string, (attester: SoftwareAttester) => void]>([
    ['an entry left out', (a) => a.log.splice(1, 1)],
    ['the last entry cut off', (a) => a.log.pop()],
    ['an entry added', (a) => a.log.push(...a.log.slice(-1).map((entry) => ({ ...entry, seq: 3 })))],
    ['two entries exchanged', (a) => a.log.reverse()],
    [
      'an entry changed',
      (a) => {
        const [first] = a.log;
        if (first !== undefined) a.log[0] = { ...first, event: { ...first.event, instance: 'other' } };
      },
    ],
    [
      'a salt changed',
      (a) => a.log.splice(0, 3, ...a.log.map((entry) => ({ ...entry, salt: '11'.repeat(32) }))),
    ],
  ])('refuses a log with %s', (_, attack) => {
    const attester = new SoftwareAttester();
    for (const verb of ['create', 'kill', 'delete'] as const) attester.record({ verb, container: 'c1' });
    expect(showAgain(attester, undefined).platform.state).toBe('VERIFIED');
    attack(attester);
    const refused = showAgain(attester, undefined);
    expect(['INSTANCE_LOG_MISMATCH', 'INSTANCE_LOG_GAP']).toContain(codes(refused)[0]);
    expect(refused.platform.state).toBe('VIOLATED');
    expect(refused.next?.instanceLog.entries).toBe(0);
  });
});

describe('what is kept of an attester', () => {
  it('survives a store', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1', config: `sha256:${'ab'.repeat(32)}` });
    const { next } = showAgain(attester, undefined);
    if (next === undefined) throw new Error('authentic evidence leaves something to keep');
    expect(continuityFromJson(continuityToJson(next))).toEqual(next);
  });

  it('is refused from a store when it was changed to something else', () => {
    expect(() => continuityFromJson('{"version":"kallio-continuity-v1"}')).toThrow(/shape/);
  });
});
