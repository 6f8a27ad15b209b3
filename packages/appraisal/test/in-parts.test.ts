import { createHash } from 'node:crypto';
import { concat, sha256, toBase64, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { type Appraisal, type AppraisalPolicy, bareTpmPolicy, heldOf } from '../src/index.ts';
import { codes, judge, POLICY } from './support/appraise.ts';
import { type Changes, question, SoftwareAttester } from './support/attester.ts';

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** Data of an `ima-ng` entry, as the kernel hashes it. */
function data(name: string, digest: Uint8Array): Uint8Array {
  const fields = [concat(utf8('sha256:\0'), digest), utf8(`${name}\0`)];
  return concat(...fields.flatMap((field) => [u32(field.length), field]));
}

/** An attester whose kernel measures: every entry is extended into PCR 10. */
class Measuring extends SoftwareAttester {
  readonly ima: Uint8Array[] = [];

  measure(name: string, digest: Uint8Array): void {
    const measured = data(name, digest);
    const sha1 = new Uint8Array(createHash('sha1').update(measured).digest());
    this.ima.push(concat(u32(10), sha1, u32(6), utf8('ima-ng'), u32(measured.length), measured));
    this.extend(10, sha256(measured));
  }

  /** What an honest agent shows of the list between two places. */
  part(from: number, to: number, more?: true): Changes {
    const entries = toBase64(concat(...this.ima.slice(from, to)));
    return { parts: { ima: { from, entries, ...(more === undefined ? {} : { more }) } } };
  }
}

const file = (i: number) => sha256(utf8(`file ${i}`));
const FILES = 9;
const zeros = Array.from({ length: 10 }, () => new Uint8Array(32));

/** Allows the files that {@link measured} measures, and nothing else. */
function policyFor(files: number): AppraisalPolicy {
  const bare = bareTpmPolicy('ima-1', 'device');
  const { '10': _, ...pcrs } = bare.reference.pcrs ?? {};
  const digests = Array.from({ length: files }, (_, i) => Buffer.from(file(i)).toString('hex'));
  return { ...bare, reference: { ...bare.reference, pcrs, ima: { classes: [{ name: 'files', digests }] } } };
}
const IMA_POLICY = policyFor(FILES);

function measured(): Measuring {
  const attester = new Measuring();
  attester.measure('boot_aggregate', sha256(concat(...zeros)));
  for (let i = 0; i < FILES; i++) attester.measure(`/bin/file-${i}`, file(i));
  return attester;
}

function show(
  attester: SoftwareAttester,
  previous: Appraisal['next'],
  change: Changes,
  policy: AppraisalPolicy = IMA_POLICY,
): Appraisal {
  const asked = question();
  return judge(attester, attester.show(asked, change), asked, {
    policy,
    ...(previous === undefined ? {} : { previous }),
  });
}

describe('an IMA log that is longer than one message', () => {
  it('is shown in parts, and VERIFIED once a quote covers all of them', () => {
    const attester = measured();
    const first = show(attester, undefined, attester.part(0, 4, true));
    expect(first.platform.state).toBe('UNKNOWN');
    expect(codes(first)).toContain('LOG_INCOMPLETE');
    expect(heldOf(first.next, IMA_POLICY).ima).toBe(4);
    const second = show(attester, first.next, attester.part(4, 8, true));
    expect(codes(second)).toContain('LOG_INCOMPLETE');
    const third = show(attester, second.next, attester.part(8, 10));
    expect(codes(third)).toEqual([]);
    expect(third.platform.state).toBe('VERIFIED');
    expect(third.next?.ima).toMatchObject({ entries: 10 });
    expect(third.next?.ima).not.toHaveProperty('unproven');
  });

  it('is found out in its last part where an earlier part left an entry out, and begins anew', () => {
    const attester = measured();
    const honest = attester.ima.splice(2, 1);
    const first = show(attester, undefined, attester.part(0, 4, true));
    const last = show(attester, first.next, attester.part(4, 9));
    expect(codes(last)).toContain('IMA_MISMATCH');
    expect(last.platform.state).toBe('VIOLATED');
    expect(heldOf(last.next, IMA_POLICY).ima).toBe(0);
    attester.ima.splice(2, 0, ...honest);
    expect(show(attester, last.next, attester.part(0, 10)).platform.state).toBe('VERIFIED');
  });

  it('is VIOLATED by an unknown file of an earlier part, once that is proved', () => {
    const attester = measured();
    const first = show(attester, undefined, attester.part(0, 9, true), policyFor(FILES - 7));
    const last = show(attester, first.next, attester.part(9, 10), policyFor(FILES - 7));
    expect(codes(last)).toContain('IMA_FILE_UNKNOWN');
    expect(last.platform.state).toBe('VIOLATED');
  });

  it('is never VERIFIED by saying for ever that it goes on', () => {
    const attester = measured();
    let { next } = show(attester, undefined, attester.part(0, 10));
    attester.measure('/bin/evil', sha256(utf8('evil')));
    attester.measure('/bin/evil-too', sha256(utf8('evil too')));
    const parked = show(attester, next, attester.part(10, 11, true));
    expect(parked.platform.state).toBe('UNKNOWN');
    // Nothing more of it: the quote still covers what was parked, and what was not shown.
    next = parked.next;
    const { ima: _, ...silent } = attester.part(11, 11, true).parts ?? {};
    expect(show(attester, next, { parts: silent }).platform.state).toBe('VIOLATED');
    expect(show(attester, next, attester.part(11, 11, true)).platform.state).toBe('VIOLATED');
    expect(codes(show(attester, next, attester.part(11, 12)))).toContain('IMA_FILE_UNKNOWN');
  });

  it('is judged from its first entry again when the policy has changed, and what is held says so', () => {
    const attester = measured();
    const { next } = show(attester, undefined, attester.part(0, 10));
    expect(heldOf(next, IMA_POLICY).ima).toBe(10);
    const other = policyFor(FILES + 1);
    expect(heldOf(next, other).ima).toBe(0);
    // An attester that has not heard of it shows nothing new. That is a question of where to go on, and no log missing.
    const { ima: _, ...nothingNew } = attester.part(10, 10).parts ?? {};
    const unaware = show(attester, next, { parts: nothingNew }, other);
    expect(codes(unaware)).toContain('LOG_POSITION');
    expect(codes(unaware)).not.toContain('IMA_MISSING');
    expect(unaware.platform.state).toBe('UNKNOWN');
    expect(show(attester, unaware.next, attester.part(0, 10), other).platform.state).toBe('VERIFIED');
    // By the policy of before, the same evidence is all there is to show.
    expect(show(attester, next, { parts: nothingNew }).platform.state).toBe('VERIFIED');
  });
});

describe('an instance log that is longer than one message', () => {
  const log = (attester: SoftwareAttester, from: number, to: number, more?: true): Changes => ({
    parts: {
      instanceLog: {
        from,
        entries: attester.log.slice(from, to),
        ...(more === undefined ? {} : { more }),
      },
    },
  });

  it('is shown in parts, and nothing is said of any instance before its end', () => {
    const attester = new SoftwareAttester();
    for (const container of ['c1', 'c2', 'c3']) attester.record({ verb: 'create', container });
    const running = { scope: 'machine', containers: [{ container: 'c3', processes: [] }], changed: [] };
    const inParts = { ...log(attester, 0, 2, true).parts, inventory: running };
    const first = show(attester, undefined, { parts: inParts }, POLICY);
    expect(codes(first)).toContain('LOG_INCOMPLETE');
    expect(first.platform.state).toBe('UNKNOWN');
    expect(first.instances.size).toBe(0);
    const rest = { ...log(attester, 2, 3).parts, inventory: running };
    const second = show(attester, first.next, { parts: rest }, POLICY);
    expect(second.platform.state).toBe('VERIFIED');
    expect(second.instances.get('c3')).toMatchObject({ state: 'VERIFIED' });
  });

  it('begins anew after a part that was made up', () => {
    const attester = new SoftwareAttester();
    for (const container of ['c1', 'c2']) attester.record({ verb: 'create', container });
    const [entry] = attester.log;
    if (entry === undefined) throw new Error('unreachable');
    const forged = { ...entry, event: { ...entry.event, instance: 'another' } };
    const parts = { instanceLog: { from: 0, entries: [forged], more: true as const } };
    const first = show(attester, undefined, { parts }, POLICY);
    const last = show(attester, first.next, log(attester, 1, 2), POLICY);
    expect(codes(last)).toContain('INSTANCE_LOG_MISMATCH');
    expect(last.next?.instanceLog.entries).toBe(0);
    expect(show(attester, last.next, log(attester, 0, 2), POLICY).platform.state).toBe('VERIFIED');
  });
});

describe('an inventory that has not changed', () => {
  const running = {
    scope: 'machine',
    containers: [{ container: 'stray', processes: [] }],
    changed: [],
  };

  it('is named by its digest, and judged as if it were shown', () => {
    const attester = new SoftwareAttester();
    const first = show(attester, undefined, { parts: { inventory: running } }, POLICY);
    const { inventory } = heldOf(first.next, POLICY);
    if (inventory === undefined) throw new Error('an inventory of this size is kept');
    const again = show(attester, first.next, { parts: { inventory: { unchanged: inventory } } }, POLICY);
    expect(again.instances.get('stray')).toMatchObject({ state: 'UNLOGGED' });
    expect(again.platform).toEqual(first.platform);
  });

  it('is refused where it names one that nobody has seen, or one of an earlier boot', () => {
    const attester = new SoftwareAttester();
    const first = show(attester, undefined, { parts: { inventory: running } }, POLICY);
    const { inventory } = heldOf(first.next, POLICY);
    const unseen = { unchanged: `sha256:${'ab'.repeat(32)}` };
    const wrong = show(attester, first.next, { parts: { inventory: unseen } }, POLICY);
    expect(codes(wrong)).toEqual(['LOG_POSITION']);
    expect(wrong.instances.size).toBe(0);
    attester.reboot();
    const kept = { inventory: { unchanged: inventory ?? '' } };
    expect(codes(show(attester, first.next, { parts: kept }, POLICY))).toEqual(['LOG_POSITION']);
    expect(show(attester, first.next, {}, POLICY).platform.state).toBe('VERIFIED');
  });
});
