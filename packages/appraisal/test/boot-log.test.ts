import { utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { parsePolicy } from '../src/index.ts';
import { codes } from './support/appraise.ts';
import {
  BOOT,
  type BootEvent,
  bootLoader,
  COMMAND_LINE,
  commandLine,
  FILES,
  MACHINE_POLICY,
  Machine,
  separator,
} from './support/machine.ts';

/** A machine that boots with these events, honestly. */
function booted(events: readonly BootEvent[]): Machine {
  const machine = new Machine();
  machine.reboot(events, FILES);
  return machine;
}

describe('what a boot measures', () => {
  it('is VERIFIED where every event has its reference value', () => {
    expect(booted(BOOT).appraise().platform).toMatchObject({ state: 'VERIFIED', tier: 'B' });
  });

  it('is refused with another boot loader, by event, and by the class that is missing', () => {
    const machine = booted(BOOT.with(-2, bootLoader('boot loader 2')));
    const { platform } = machine.appraise();
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toMatchObject([
      { code: 'EVENT_UNKNOWN', pointer: 'event:16' },
      { code: 'EVENT_MISSING', pointer: 'pcr:4', message: expect.stringContaining('boot-loader') },
    ]);
  });

  it.each([
    ['one more word', `${COMMAND_LINE} init=/bin/sh`],
    ['one word less', COMMAND_LINE.replace(' ro', '')],
    ['another case', COMMAND_LINE.toUpperCase()],
    ['nothing', ''],
  ])('is refused with a command line of %s', (_, text) => {
    const { platform } = booted(BOOT.with(-1, commandLine(text))).appraise();
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toMatchObject([
      { code: 'EVENT_UNKNOWN', pointer: 'event:17' },
      { code: 'EVENT_MISSING', pointer: 'pcr:9', message: expect.stringContaining('command-line') },
    ]);
  });

  it('is refused where firmware left out a measurement that must be there', () => {
    expect(codes(booted([...BOOT.slice(0, -2), commandLine(COMMAND_LINE)]).appraise())).toEqual([
      'EVENT_MISSING',
    ]);
  });

  it('is refused where something follows a separator that belongs before it', () => {
    const late: BootEvent = { pcr: 0, type: 8, data: utf8('firmware of PCR 0') };
    expect(codes(booted([...BOOT, late]).appraise())).toEqual(['EVENT_SEPARATOR']);
    expect(codes(booted([...BOOT, separator(3)]).appraise())).toEqual(['EVENT_SEPARATOR']);
    expect(codes(booted([late, ...BOOT]).appraise())).toEqual([]);
  });
});

describe('a log of another boot than was measured', () => {
  const machine = booted(BOOT);
  const last = BOOT.length - 1;
  /** The machine's evidence, with its log changed before it was quoted: as whoever has root there would. */
  const shown = (change: (events: BootEvent[]) => void, policy = MACHINE_POLICY) => {
    const liar = booted(BOOT);
    change(liar.events);
    return liar.appraise({ policy }).platform;
  };

  it('is refused for every event that is dropped, changed or moved, and VERIFIED without', () => {
    expect(machine.appraise().platform.state).toBe('VERIFIED');
    for (let i = 0; i <= last; i++) {
      const event = BOOT[i];
      if (event === undefined) throw new Error('an event');
      const { pcr } = event;
      const mismatch = {
        code: expect.stringMatching(/^(?:EVENTLOG_MISMATCH|PCR_WITHOUT_EVENTS)$/),
        pointer: `pcr:${pcr}`,
      };
      const dropped = shown((events) => events.splice(i, 1));
      expect(dropped.refusals, `event ${i} dropped`).toContainEqual(expect.objectContaining(mismatch));
      const changed = shown((events) => {
        events[i] = { ...event, measured: utf8('something else') };
      });
      expect(changed.refusals, `event ${i} changed`).toContainEqual(expect.objectContaining(mismatch));
      const moved = shown((events) => {
        events[i] = { ...event, pcr: (pcr + 1) % 10 };
      });
      expect(moved.refusals, `event ${i} moved`).toContainEqual(expect.objectContaining(mismatch));
      const after = BOOT.findIndex((one, k) => k > i && one.pcr === pcr);
      if (after === -1) continue;
      const swapped = shown((events) => {
        [events[i], events[after]] = [BOOT[after] ?? event, event];
      });
      expect(swapped.refusals, `event ${i} and ${after} exchanged`).toContainEqual(
        expect.objectContaining({ code: 'EVENTLOG_MISMATCH', pointer: `pcr:${pcr}` }),
      );
    }
  });

  it('is refused where every event of a PCR is left out, also of one that is not judged', () => {
    const boot = (MACHINE_POLICY.reference.boot ?? []).filter(({ pcr }) => pcr !== 9);
    const reference = { ...MACHINE_POLICY.reference, boot };
    const policy = parsePolicy({ ...MACHINE_POLICY, reference, excluded: { 9: 'changes with every start' } });
    expect(shown(() => undefined, policy).state).toBe('VERIFIED');
    expect(shown((events) => events.splice(last, 1), policy).refusals).toMatchObject([
      { code: 'PCR_WITHOUT_EVENTS', pointer: 'pcr:9' },
    ]);
  });

  it('is refused where a type or data lies about the digest, and where no check rests on it, nothing changes', () => {
    const separatorAt = BOOT.findIndex(({ pcr, type }) => pcr === 4 && type === 4);
    const text = shown((events) => {
      events[separatorAt] = { ...separator(4), data: utf8('all is well'), measured: new Uint8Array(4) };
    });
    expect(text.refusals).toMatchObject([{ code: 'EVENT_DATA', pointer: `event:${separatorAt + 1}` }]);
    const type = shown((events) => {
      events[last] = { ...commandLine(COMMAND_LINE), type: 4 };
    });
    expect(type.refusals).toMatchObject([{ code: 'EVENT_DATA', pointer: `event:${last + 1}` }]);
    const relabelled = shown((events) => {
      events[last] = { ...commandLine(COMMAND_LINE), type: 0x0d, data: utf8('another command line') };
    });
    expect(relabelled).toMatchObject({ state: 'VERIFIED', tier: 'B' });
  });
});
