import { concat, utf8 } from '@kallio/codec';
import { expect, test } from 'vitest';
import { commandLines, parseEventLog } from '../src/index.ts';
import { u32le } from './support/bytes.ts';
import { type Measured, measuredLog, TYPE, wide } from './support/efi.ts';

const LINE = '/vmlinuz root=/dev/vda ro';

function linesOf(...events: Measured[]) {
  return commandLines(parseEventLog(measuredLog(events)), 'sha256');
}

function ipl(pcr: number, data: Uint8Array, hashed: Uint8Array): Measured {
  return { pcr, type: TYPE.ipl, data, hashed };
}

const grub = ipl(8, utf8(`kernel_cmdline: ${LINE}\0`), utf8(LINE));

test('a command line is found where GRUB, systemd and Linux measure it', () => {
  const tag = utf8('LOADED_IMAGE::LoadOptions\0');
  const linux = {
    pcr: 9,
    type: TYPE.tag,
    data: concat(u32le(0x8f3b22ed), u32le(tag.length), tag),
    hashed: wide(`${LINE}\0`),
  };
  expect(linesOf(grub, ipl(12, wide(`${LINE}\0`), wide(LINE)), linux)).toEqual([
    { event: 1, pcr: 8, by: 'grub', text: LINE },
    { event: 2, pcr: 12, by: 'systemd', text: LINE },
    { event: 3, pcr: 9, by: 'linux' },
  ]);
});

test('a command line that was not hashed is none', () => {
  // Stops the log from showing a good line where the kernel was started with another.
  expect(linesOf(grub)).toHaveLength(1);
  expect(linesOf(ipl(8, utf8(`kernel_cmdline: ${LINE}\0`), utf8(`${LINE} init=/bin/sh`)))).toEqual([]);
});

test('a boot loader’s command, a file and a line in another PCR are none', () => {
  expect(linesOf(ipl(8, utf8(`grub_cmd: linux ${LINE}\0`), utf8(`linux ${LINE}`)))).toEqual([]);
  expect(linesOf(ipl(9, utf8('/vmlinuz\0'), utf8('the kernel')))).toEqual([]);
  expect(linesOf({ ...grub, pcr: 11 })).toEqual([]);
});
