import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parsePolicy } from '@kallio/appraisal';
import { sha256, toHex, utf8 } from '@kallio/codec';
import type { AttesterMeasurements } from '@kallio/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { learn, policyOf } from '../../src/reference/learn.ts';
import { run } from '../support/program.ts';
import { SoftwareMachine } from '../support/software-machine.ts';

const SHELL = sha256(utf8('a shell'));

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-learn-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A machine that has booted and runs a shell. */
function machine(commandLine = 'ro quiet'): SoftwareMachine {
  const made = new SoftwareMachine();
  made.bootLinux(commandLine);
  made.measure('/usr/bin/sh', SHELL);
  return made;
}

/** A file of JSON. */
function file(name: string, content: unknown): string {
  const path = join(dir, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

/** The policy that was learnt from a machine. */
function learnt(from = machine()): string {
  return file('policy.json', policyOf(learn(from.measurements()), 'learnt'));
}

async function check(policy: string, measurements: AttesterMeasurements, ...more: string[]) {
  const evidence = file('evidence.json', measurements);
  const { exit, out } = await run('policy', 'check', policy, evidence, '--json', ...more);
  return { exit, ...JSON.parse(out) };
}

describe('what was learnt from a machine', () => {
  it('verifies it, and another that measures the same', async () => {
    const policy = learnt();
    expect(await check(policy, machine().measurements())).toMatchObject({
      exit: 0,
      state: 'VERIFIED',
      differences: [],
    });
    const { reference } = parsePolicy(JSON.parse(readFileSync(policy, 'utf8')));
    expect(reference.ima?.classes).toMatchObject([{ name: 'programs', digests: [toHex(SHELL)] }]);
    expect(reference.boot).toMatchObject([
      { pcr: 0, class: 'firmware', values: [{ name: 'cabinet-7 event 1: EV_S_CRTM_VERSION 1.0' }] },
      { pcr: 9, class: 'command-line', required: true },
    ]);
    // PCR 10 is judged by its log, 14 by the instance log.
    expect(Object.keys(reference.pcrs ?? {})).not.toContain('10');
    expect(Object.keys(reference.pcrs ?? {})).not.toContain('14');
  });

  it('holds nothing that runs ahead of the quote, no file of an image, and no boot aggregate', () => {
    const one = machine();
    const before = one.measurements();
    one.measure('/usr/bin/late', sha256(utf8('late')));
    const after = one.measurements();
    const list = (measurements: AttesterMeasurements) => learn(measurements).listing.trim().split('\n');
    expect(list(after)).toHaveLength(2);
    expect(list({ ...before, ima: after.ima ?? '' })).toEqual([`${toHex(SHELL)}  /usr/bin/sh`]);
    expect(list({ ...after, imageFiles: [toHex(SHELL)] })).toEqual([
      `${toHex(sha256(utf8('late')))}  /usr/bin/late`,
    ]);
  });

  it('is nothing where the evidence is not authentic, or its logs do not lead to it', () => {
    const good = machine().measurements();
    expect(() => learn(good)).not.toThrow();
    const other = machine('ro init=/evil');
    const refused: [Partial<AttesterMeasurements>, string][] = [
      [{ akPublic: new SoftwareMachine().measurements().akPublic }, 'QUOTE_SIGNATURE'],
      [{ evidence: { ...good.evidence, nonce: '00'.repeat(32) } }, 'QUOTE_BINDING'],
      [{ evidence: { ...good.evidence, attester: 'cabinet-8' } }, 'QUOTE_BINDING'],
      [{ eventLog: other.measurements().eventLog ?? '' }, 'EVENTLOG_MISMATCH'],
      [{ ima: other.measurements().ima ?? '' }, 'IMA_MISMATCH'],
    ];
    for (const [change, code] of refused) {
      expect(() => learn({ ...good, ...change }), code).toThrow(expect.objectContaining({ code }));
    }
    const disturbed = machine();
    disturbed.disturb();
    expect(() => learn(disturbed.measurements())).toThrow(
      expect.objectContaining({ code: 'INSTANCE_LOG_MISMATCH' }),
    );
  });
});

describe('a check of a policy', () => {
  it('names the event that differs, what was found and what was expected', async () => {
    const policy = learnt();
    const found = await check(policy, machine('ro init=/evil').measurements());
    expect(found).toMatchObject({ exit: 1, state: 'VIOLATED', authentic: true });
    const [difference] = found.differences;
    expect(difference).toMatchObject({
      code: 'EVENT_UNKNOWN',
      what: expect.stringMatching(/^event \d+, PCR 9, command-line: EV_EVENT_TAG/),
      found: toHex(sha256(new Uint8Array(Buffer.from('ro init=/evil\0', 'utf16le')))),
      expected: [
        expect.stringContaining(toHex(sha256(new Uint8Array(Buffer.from('ro quiet\0', 'utf16le'))))),
      ],
    });
    expect(found.differences.map(({ code }: { code: string }) => code)).toContain('EVENT_MISSING');
  });

  it('names the file that differs, and from a listing which digest it should have', async () => {
    const policy = learnt();
    const changed = machine();
    const evil = sha256(utf8('evil'));
    changed.measure('/usr/bin/sh', evil);
    const listing = join(dir, 'paths');
    writeFileSync(listing, `${toHex(SHELL)}  /usr/bin/sh\n`);
    expect((await check(policy, machine().measurements())).exit).toBe(0);
    const plain = await check(policy, changed.measurements());
    expect(plain.differences).toEqual([
      {
        code: 'IMA_FILE_UNKNOWN',
        what: '/usr/bin/sh (IMA entry 2)',
        found: `sha256:${toHex(evil)}`,
        expected: ['a digest of the class “programs”'],
      },
    ]);
    const elsewhere = machine();
    elsewhere.measure('/srv/miner', evil);
    expect((await check(policy, elsewhere.measurements())).differences).toMatchObject([
      { what: '/srv/miner (IMA entry 2)', expected: ['nothing: the policy has no class for this path'] },
    ]);
    const listed = await check(policy, changed.measurements(), '--paths', listing);
    expect(listed.differences[0].expected).toEqual([`${toHex(SHELL)} (/usr/bin/sh)`]);
    const text = await run('policy', 'check', policy, join(dir, 'evidence.json'), '--paths', listing);
    expect(text.out).toMatch(/✘ IMA_FILE_UNKNOWN {2}\/usr\/bin\/sh/);
    expect(text.out).toMatch(/cabinet-7 by learnt: VIOLATED/);
  });

  it('says nothing of what differs in evidence that is not authentic', async () => {
    const policy = learnt();
    const good = machine().measurements();
    expect((await check(policy, good)).exit).toBe(0);
    const forged = { ...good, evidence: { ...good.evidence, nonce: '00'.repeat(32) } };
    expect(await check(policy, forged)).toMatchObject({
      exit: 1,
      authentic: false,
      state: 'UNKNOWN',
      differences: [],
      refusals: [{ code: 'QUOTE_BINDING' }],
    });
    const bare = await run('policy', 'check', policy, file('x.json', { not: 'evidence' }), '--json');
    expect([bare.exit, JSON.parse(bare.out).error.code]).toEqual([2, 'CLI_EVIDENCE']);
  });

  it('takes an evidence message by itself, with the key that must have signed it', async () => {
    const policy = learnt();
    const { evidence, akPublic } = machine().measurements();
    const message = file('message.json', evidence);
    const ak = join(dir, 'ak.tpmt');
    writeFileSync(ak, Buffer.from(akPublic, 'base64'));
    const checked = async (...more: string[]) => {
      const { exit, out } = await run('policy', 'check', policy, ...more, '--json');
      return { exit, ...JSON.parse(out) };
    };
    expect(await checked(message, '--ak', ak)).toMatchObject({ exit: 0, state: 'VERIFIED' });
    expect(await checked(message)).toMatchObject({ exit: 2, error: { code: 'USAGE' } });
    writeFileSync(ak, Buffer.from(new SoftwareMachine().akPublic));
    expect(await checked(message, '--ak', ak)).toMatchObject({
      exit: 1,
      refusals: [{ code: 'QUOTE_SIGNATURE' }],
    });
    const later = file('later.json', { ...evidence, instanceLog: { from: 1, entries: [] } });
    expect(await checked(later, '--ak', ak)).toMatchObject({ exit: 2, error: { code: 'CLI_EVIDENCE' } });
  });

  it('without evidence says what a policy leaves unknown, and where it can’t be used', async () => {
    const policy = learnt();
    const good = await run('policy', 'check', policy, '--json');
    expect([good.exit, JSON.parse(good.out).notes]).toEqual([0, []]);
    const parsed = parsePolicy(JSON.parse(readFileSync(policy, 'utf8')));
    const empty = await run('policy', 'check', file('empty.json', { ...parsed, reference: {} }), '--json');
    expect(empty.exit).toBe(0);
    expect(JSON.parse(empty.out).notes.join(' ')).toMatch(/no reference values: everything is UNKNOWN/);
    // And it is so.
    expect(await check(join(dir, 'empty.json'), machine().measurements())).toMatchObject({
      exit: 1,
      state: 'UNKNOWN',
    });
    const unknown = await run('policy', 'check', file('odd.json', { ...parsed, extra: true }), '--json');
    expect(unknown.exit).toBe(2);
    expect(JSON.parse(unknown.out).error).toMatchObject({ code: 'CONFIG_INVALID', pointer: '/extra' });
  });
});
