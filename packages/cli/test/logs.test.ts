import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { run } from './support/program.ts';

const captured = join(import.meta.dirname, '../../evidence/test/fixtures/debian12-qemu');
const vectors = join(import.meta.dirname, '../../../../shared/vectors/eventlogs');
const names = existsSync(vectors) ? readdirSync(vectors).sort() : [];
const tool = spawnSync('tpm2_eventlog', ['--version']).error === undefined;

const folder = mkdtempSync(join(tmpdir(), 'kallio-logs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** PCR values that tpm2_quote wrote beside the captured quote: slot after slot of 2 bytes size and 64 of value. */
function quoted(pcr: number): string {
  const bytes = readFileSync(join(captured, 'q1.pcrs'));
  const start = 4 + 16 * 8 + 4 + Math.floor(pcr / 8) * (4 + 8 * 66) + 4 + (pcr % 8) * 66;
  return bytes.subarray(start + 2, start + 2 + 32).toString('hex');
}

/** `pcrs:` of what tpm2_eventlog prints, bank after bank. */
function byTool(path: string): Map<string, Map<string, string>> {
  const printed = execFileSync('tpm2_eventlog', [path], { encoding: 'utf8', stdio: 'pipe' });
  const banks = new Map<string, Map<string, string>>();
  let values = new Map<string, string>();
  for (const line of printed.slice(printed.lastIndexOf('\npcrs:')).split('\n')) {
    const [, heading] = /^ {2}(\w+):$/.exec(line) ?? [];
    const [, pcr, value] = /^ {4}(\d+) *: 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (heading !== undefined) {
      values = new Map();
      banks.set(heading, values);
    } else if (pcr !== undefined && value !== undefined) values.set(pcr, value);
  }
  return banks;
}

async function valuesOf(...args: string[]): Promise<Record<string, string>> {
  const { exit, out } = await run('eventlog', ...args, '--pcrs', '--json');
  expect(exit).toBe(0);
  return JSON.parse(out).pcrs;
}

describe('kallio eventlog', () => {
  const log = join(captured, 'bios.bin');

  test('--pcrs prints the values that the TPM quoted', async () => {
    const values = await valuesOf(log);
    expect(Object.keys(values)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '9']);
    for (const [pcr, value] of Object.entries(values)) expect(value).toBe(quoted(Number(pcr)));
    const { out } = await run('eventlog', log, '--pcrs');
    expect(out).toContain(`PCR 7   sha256:${quoted(7)}\n`);
  });

  test.skipIf(!tool || names.length === 0).each(names)(
    '--pcrs of %s prints what tpm2_eventlog says (skipped without tpm2-tools or ../shared/vectors)',
    async (name) => {
      const path = join(vectors, name);
      for (const [bank, values] of byTool(path)) {
        expect(await valuesOf(path, '--bank', bank)).toEqual(Object.fromEntries(values));
      }
    },
  );

  test('tells what is measured from what is only described', async () => {
    const { exit, out } = await run('eventlog', log);
    expect(exit).toBe(0);
    expect(out).toContain('  measured   variable SecureBoot (8be4df61-93ca-11d2-aa0d-00e098032b8c): off\n');
    expect(out).toContain('  described  image of 14186432 bytes from VenMedia(');
    expect(out).toContain(
      '  measured   the content alone, not the name: 0000\n  described  variable BootOrder',
    );
    const document = JSON.parse((await run('eventlog', log, '--json')).out);
    expect(document.events).toHaveLength(25);
    expect(document.events[4]).toMatchObject({
      index: 4,
      authenticated: { pcr: 7 },
      unauthenticated: { type: 'EV_EFI_VARIABLE_DRIVER_CONFIG' },
      decoded: { proof: 'all', measured: { kind: 'variable', value: { is: 'flag', set: false } } },
    });
    expect(document.events[10].decoded).not.toHaveProperty('measured');
    expect(document.replay.pcrs['7']).toBe(quoted(7));
  });

  test.skipIf(names.length === 0).each(names)(
    'prints %s whole (skipped without ../shared/vectors)',
    async (name) => {
      const { exit, out } = await run('eventlog', join(vectors, name));
      expect(exit).toBe(0);
      expect(out).not.toContain('REFUSED');
    },
  );

  test('goes on with what systemd measured', async () => {
    const digest = createHash('sha256').update('ready').digest();
    const content = { string: 'ready', eventType: 'phase' };
    const record = {
      pcr: 11,
      digests: [{ hashAlg: 'sha256', digest: digest.toString('hex') }],
      content_type: 'systemd',
      content,
    };
    const userspace = fileOf('measure.log', `\u001e${JSON.stringify(record)}\n`);
    const expected = createHash('sha256').update(Buffer.alloc(32)).update(digest).digest('hex');
    expect((await valuesOf(log, userspace))['11']).toBe(expected);
    expect((await valuesOf(log, userspace))['7']).toBe(quoted(7));
    expect(await valuesOf(userspace)).toEqual({ 11: expected });
    expect((await run('eventlog', userspace)).out).toContain('record 0  PCR 11  phase\n');
    expect((await run('eventlog', userspace)).out).toContain('  measured   “ready”\n');
    // User space comes after the firmware.
    expect(await run('eventlog', userspace, log, '--json')).toMatchObject({ exit: 2 });
  });

  test('of a log that can’t be used says where, and ends in 2', async () => {
    const bytes = new Uint8Array(readFileSync(log));
    const cut = fileOf('cut.bin', bytes.subarray(0, -1));
    const { exit, err } = await run('eventlog', cut);
    expect(exit).toBe(2);
    expect(err).toMatch(/^EVENTLOG_MALFORMED: .*\n {2}at event:24\n/);
    expect(await run('eventlog', log, '--bank', 'sha384', '--json')).toMatchObject({
      exit: 2,
      out: expect.stringContaining('EVENTLOG_BANK'),
    });
    expect((await run('eventlog', log, '--bank', 'md5')).exit).toBe(2);
    expect((await run('eventlog', join(folder, 'missing'))).err).toMatch(/^CLI_FILE/);
    expect((await run('eventlog', fileOf('bad.json', '{"pcr":11}'))).err).toMatch(
      /^MEASURELOG_MALFORMED.*\n {2}at record:0/,
    );
  });

  test('prints an event whose data lies about its lengths as that, goes on, and ends in 2', async () => {
    const bytes = new Uint8Array(readFileSync(log));
    // The high byte of the length of SecureBoot's name, found by the name's first letters behind it.
    const name = Buffer.from(bytes).indexOf(Buffer.from('SecureBoot', 'utf16le'));
    bytes[name - 9] = 0x7f;
    const path = fileOf('lies.bin', bytes);
    const { exit, out } = await run('eventlog', path);
    expect(exit).toBe(2);
    expect(out).toContain('  REFUSED    EVENTLOG_DATA: ');
    expect(out).toContain('event 24  ');
    expect(JSON.parse((await run('eventlog', path, '--json')).out).events[4].refusal).toMatchObject({
      code: 'EVENTLOG_DATA',
      pointer: 'event:4',
    });
    // What it leads to is the same: data is no part of a replay.
    expect((await valuesOf(path))['7']).toBe(quoted(7));
  });

  test('prints nothing of a log that a terminal would obey', async () => {
    const bytes = new Uint8Array(readFileSync(log));
    const at = Buffer.from(bytes).indexOf('Exit Boot Services Invocation');
    bytes.set(Buffer.from('x\u009b2J\n\u202e', 'utf8'), at);
    const { out } = await run('eventlog', fileOf('escape.bin', bytes));
    expect(out).toContain('\\u009b2J\\u000a\\u202e');
    expect(out).not.toMatch(/[\u009b\u202e]/);
  });
});

describe('kallio imalog', () => {
  const binary = join(captured, 'q1.ima.bin');
  const text = join(captured, 'q1.ima.txt');

  test('--pcrs prints the value that the TPM quoted, of the binary list and of the ASCII one', async () => {
    for (const file of [binary, text]) {
      const { exit, out } = await run('imalog', file, '--pcrs', '--json');
      expect(exit).toBe(0);
      expect(JSON.parse(out)).toEqual({ entries: 44, bank: 'sha256', pcrs: { 10: quoted(10) } });
    }
    expect((await run('imalog', binary, '--pcrs')).out).toBe(`44 entries\nPCR 10  sha256:${quoted(10)}\n`);
  });

  test('prints each entry, the same of both lists', async () => {
    const ofBinary = await run('imalog', binary);
    expect(ofBinary.exit).toBe(0);
    expect(ofBinary.out).toMatch(/^entry 0 {2}ima-ng {2}measured {2}sha256:[0-9a-f]{64} {2}boot_aggregate\n/);
    expect(ofBinary.out.split('\n')).toHaveLength(44 + 4);
    expect(await run('imalog', text)).toEqual(ofBinary);
    const document = JSON.parse((await run('imalog', binary, '--json')).out);
    expect(document.entries).toHaveLength(44);
    expect(document.entries[0]).toMatchObject({ index: 0, measured: { name: 'boot_aggregate' } });
    expect(document.replay.pcrs['10']).toBe(quoted(10));
  });

  test('says of a violation that nothing of it is measured', async () => {
    const bytes = new Uint8Array(readFileSync(binary));
    bytes.fill(0, 4, 24);
    const path = fileOf('violation.bin', bytes);
    expect((await run('imalog', path)).out).toMatch(
      /^entry 0 {2}ima-ng {2}VIOLATION, not measured: boot_aggregate\n/,
    );
    const [first] = JSON.parse((await run('imalog', path, '--json')).out).entries;
    expect(first).toHaveProperty('described');
    expect(first).not.toHaveProperty('measured');
  });

  test('of a list that can’t be used says where, and ends in 2', async () => {
    const bytes = new Uint8Array(readFileSync(binary));
    const cut = fileOf('cut.ima', bytes.subarray(0, -1));
    const { exit, out, err } = await run('imalog', cut);
    expect(exit).toBe(2);
    expect(err).toMatch(/^IMA_MALFORMED: .*\n {2}at ima:43\n/);
    expect(out.split('\n')).toHaveLength(43 + 1);
    const document = JSON.parse((await run('imalog', cut, '--json')).out);
    expect(document.entries).toHaveLength(43);
    expect(document.error).toMatchObject({ code: 'IMA_MALFORMED', pointer: 'ima:43' });
    const changed = readFileSync(text, 'utf8').replace('boot_aggregate', 'boot_aggregatf');
    expect((await run('imalog', fileOf('changed.txt', changed), '--pcrs')).err).toMatch(
      /^IMA_DIGEST: .*\n {2}at ima:0\n/,
    );
    expect((await run('imalog', fileOf('latin1.txt', Buffer.from('10 \xff\n', 'latin1')))).err).toMatch(
      /^IMA_MALFORMED/,
    );
    expect(JSON.parse((await run('imalog', fileOf('empty', ''), '--json')).out)).toMatchObject({
      entries: [],
      replay: { entries: 0, pcrs: { 10: '00'.repeat(32) } },
    });
  });
});
