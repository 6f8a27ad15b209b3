import { fromBase64, toBase64 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { describe, expect, it } from 'vitest';
import type { Appraisal, Continuity } from '../src/index.ts';
import { codes } from './support/appraise.ts';
import { BOOT, FILES, type ImaLine, Machine } from './support/machine.ts';

type Log = NonNullable<EvidenceMessage['ima']>;

/** The machine's evidence with another list than the kernel's, quoted as whoever has root there would. */
function shown(change: (log: Log, machine: Machine) => Log, previous?: Continuity): Appraisal {
  const machine = new Machine();
  return machine.appraise(previous === undefined ? {} : { previous }, {
    ima: change(machine.imaLog(), machine),
  });
}

/** The list of a machine that used other files. */
function listOf(files: readonly ImaLine[]): Log {
  const other = new Machine();
  other.reboot(BOOT, files);
  return other.imaLog();
}

const HONEST = shown((log) => log);
const [shell, module, application] = FILES;
if (shell === undefined || module === undefined || application === undefined) throw new Error('three files');

describe('an IMA list', () => {
  it('that leads to the quote is VERIFIED, tier B', () => {
    expect(HONEST.platform).toMatchObject({ state: 'VERIFIED', tier: 'B' });
  });

  it.each<[string, readonly ImaLine[]]>([
    ['its tail cut off', [shell, module]],
    ['a line removed from the middle', [shell, application]],
    ['a path changed', [{ ...shell, name: '/usr/bin/bash' }, module, application]],
    ['a digest changed', [{ ...shell, file: 'an application' }, module, application]],
    ['two lines exchanged', [module, shell, application]],
    ['a line put in', [shell, shell, module, application]],
    ['a violation for a measurement', [{ ...shell, file: 'violation' }, module, application]],
    ['nothing but its first line', []],
  ])('is refused with %s', (_, files) => {
    const { platform, next } = shown(() => listOf(files));
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toContainEqual(
      expect.objectContaining({ code: 'IMA_MISMATCH', pointer: 'pcr:10' }),
    );
    expect(next?.ima).toBeUndefined();
  });

  it('is refused for any single bit that is measured, and reads nothing into the others', () => {
    const machine = new Machine();
    const honest = machine.imaLog();
    const bytes = fromBase64(honest.entries);
    const kept = HONEST.next?.ima;
    for (let bit = 0; bit < bytes.length * 8; bit += 3) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const { platform, next } = machine.appraise({}, { ima: { from: 0, entries: toBase64(flipped) } });
      // The SHA-1 that the list shows of an entry is not looked at: nothing rests on it.
      if (platform.state === 'VERIFIED') expect(next?.ima).toEqual(kept);
      else expect(platform.refusals[0]?.code, `bit ${bit}`).toMatch(/^(?:IMA|LOG)_/);
    }
  });

  it('is refused with an entry of another PCR, by place', () => {
    const { platform } = shown((log) => {
      const bytes = fromBase64(log.entries);
      bytes[0] = 11;
      return { ...log, entries: toBase64(bytes) };
    });
    expect(platform.refusals).toContainEqual(expect.objectContaining({ code: 'IMA_PCR', pointer: 'ima:0' }));
  });

  it('is refused with a violation for a file that is not listed, and named by the file', () => {
    const machine = new Machine();
    machine.use({ name: '/var/log/x', file: 'violation' });
    expect(machine.appraise().platform.refusals).toMatchObject([
      { code: 'IMA_VIOLATION', pointer: 'ima:4', message: expect.stringContaining('/var/log/x') },
    ]);
  });

  it('is refused where it began in another boot, or with no aggregate', () => {
    const machine = new Machine();
    machine.aggregate = '11'.repeat(32);
    machine.reboot();
    expect(machine.appraise().platform.state).toBe('VERIFIED');
    const forged = new Machine();
    forged.forgeAggregate('11'.repeat(32));
    expect(forged.appraise().platform.refusals).toMatchObject([
      { code: 'IMA_BOOT_AGGREGATE', pointer: 'ima:0' },
    ]);
  });

  it('is not gone on with across a boot', () => {
    const machine = new Machine();
    const first = machine.appraise().next;
    if (first === undefined) throw new Error('kept');
    machine.reboot();
    const skipping = machine.appraise({ previous: first }, { ima: machine.imaLog(first.ima?.entries ?? 0) });
    expect(codes(skipping)).toContain('LOG_POSITION');
    expect(machine.appraise({ previous: first }).platform.state).toBe('VERIFIED');
  });
});

describe('an IMA list that is ahead of its quote', () => {
  const line: ImaLine = { name: '/opt/app', file: 'an application' };
  const more: ImaLine = { name: '/srv/app', file: 'an application' };

  it('is taken as far as the quote, and must be covered by the next one', () => {
    const machine = new Machine();
    const ahead = new Machine();
    ahead.use(line);
    const first = machine.appraise({}, { ima: ahead.imaLog() });
    expect(first.platform.state).toBe('VERIFIED');
    expect(first.next?.ima).toMatchObject({ entries: 4 });
    if (first.next === undefined) throw new Error('kept');
    machine.use(line);
    const { platform, next } = machine.appraise({ previous: first.next });
    expect(platform.state).toBe('VERIFIED');
    expect(next?.ima).toMatchObject({ entries: 5 });
  });

  it.each<[string, (machine: Machine) => void, (machine: Machine) => Log]>([
    ['stays ahead for ever', () => undefined, () => aheadBy(line)],
    ['shows another entry in its place', (machine) => machine.use(more), (machine) => machine.imaLog(4)],
  ])('is refused where it %s', (_, happen, log) => {
    const machine = new Machine();
    const first = machine.appraise({}, { ima: aheadBy(line, 0) });
    expect(first.platform.state).toBe('VERIFIED');
    if (first.next === undefined) throw new Error('kept');
    happen(machine);
    const again = machine.appraise({ previous: first.next }, { ima: log(machine) });
    expect(codes(again)).toContain('IMA_AHEAD');
    expect(again.platform.state).toBe('VIOLATED');
  });

  it('is refused where what was shown ahead is not shown again', () => {
    const machine = new Machine();
    const first = machine.appraise({}, { ima: aheadBy(line, 0) });
    if (first.next === undefined) throw new Error('kept');
    const again = machine.appraise({ previous: first.next }, { ima: { from: 4, entries: '' } });
    expect(codes(again)).toContain('IMA_MISMATCH');
  });

  function aheadBy(one: ImaLine, from = 4): Log {
    const ahead = new Machine();
    ahead.use(one);
    return ahead.imaLog(from);
  }
});

describe('evidence', () => {
  it('shown twice, late or out of order says nothing against the machine and moves nothing', () => {
    const machine = new Machine();
    const first = machine.appraise();
    if (first.next === undefined) throw new Error('kept');
    machine.clock -= 1000n;
    const late = machine.appraise({ previous: first.next });
    expect(codes(late)).toEqual(['CLOCK_WENT_BACK']);
    expect(late.platform.state).toBe('UNKNOWN');
    expect(late.next).toEqual(first.next);
    machine.clock += 2000n;
    expect(machine.appraise({ previous: first.next }).platform.state).toBe('VERIFIED');
    // From the beginning again, where it should go on: a position that the verifier is past.
    const twice = machine.appraise({ previous: first.next }, { ima: machine.imaLog() });
    expect(codes(twice)).toContain('LOG_POSITION');
    expect(twice.platform.state).toBe('UNKNOWN');
    expect(twice.next?.ima).toEqual(first.next.ima);
  });
});
