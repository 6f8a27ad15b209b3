import { KallioError } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { place } from '../src/lifecycle/placement.ts';
import { device, RESULT } from './fixture-devices.ts';

const all = () => true;
const none = new Map<string, number>();

describe('placement', () => {
  it('takes the least loaded device, then the first by name, and says on what evidence', () => {
    const devices = [device('c'), device('b'), device('a')];
    expect(place(devices, all, none, [])).toEqual({ attester: 'a', boot: 7, result: RESULT });
    expect(
      place(
        devices,
        all,
        new Map([
          ['a', 2],
          ['b', 1],
          ['c', 1],
        ]),
        [],
      ),
    ).toMatchObject({ attester: 'b' });
  });

  it('takes a host that was asked for, however loaded', () => {
    const devices = [device('a'), device('b')];
    expect(place(devices, all, new Map([['b', 9]]), ['b'])).toMatchObject({ attester: 'b' });
  });

  const unfit: readonly (readonly [string, ReturnType<typeof device>, boolean])[] = [
    ['is STALE', device('a', { state: 'STALE' }), true],
    ['is VIOLATED', device('a', { state: 'VIOLATED' }), true],
    ['is DEGRADED', device('a', { state: 'DEGRADED' }), true],
    ['never showed evidence', { ...device('a', { state: 'UNKNOWN' }), boot: undefined } as never, true],
    ['is not connected', device('a'), false],
  ];
  for (const [what, unfitDevice, connected] of unfit) {
    it(`never takes a device that ${what}, and says so`, () => {
      const refused = place([unfitDevice], () => connected, none, []);
      expect(refused).toBeInstanceOf(KallioError);
      expect(refused).toMatchObject({ code: 'NO_VERIFIED_DEVICE', message: expect.stringContaining('a is') });
      // Beside it, one that is fit is taken.
      expect(place([unfitDevice, device('z')], (name) => connected || name === 'z', none, [])).toMatchObject({
        attester: 'z',
      });
    });
  }

  it('does not fall back to another host than the one asked for', () => {
    expect(place([device('a')], all, none, ['b'])).toMatchObject({
      code: 'NO_VERIFIED_DEVICE',
      message: expect.stringContaining('b is no admitted device'),
    });
  });
});
