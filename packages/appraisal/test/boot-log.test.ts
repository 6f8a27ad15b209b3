import { utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { codes } from './support/appraise.ts';
import {
  BOOT,
  type BootEvent,
  bootLoader,
  COMMAND_LINE,
  commandLine,
  FILES,
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
