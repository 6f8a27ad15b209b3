import { sha256, toHex, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { type AppraisalPolicy, parsePolicy } from '../src/index.ts';
import { codes, judge, POLICY } from './support/appraise.ts';
import { question, SoftwareAttester } from './support/attester.ts';

const PCRS = POLICY.reference.pcrs ?? {};

function verdict(attester: SoftwareAttester, policy: AppraisalPolicy) {
  const asked = question();
  return judge(attester, attester.show(asked), asked, { policy });
}

describe('reference values', () => {
  it('make UNKNOWN where they are missing, never VERIFIED', () => {
    const attester = new SoftwareAttester();
    const { 4: _, ...without } = PCRS;
    const missing = verdict(attester, { ...POLICY, reference: { pcrs: without } });
    expect(missing.platform.state).toBe('UNKNOWN');
    expect(missing.platform.refusals).toMatchObject([{ code: 'PCR_NO_REFERENCE', pointer: 'pcr:4' }]);
    const empty = verdict(attester, { ...POLICY, reference: { pcrs: {} } });
    expect(empty.platform.state).toBe('UNKNOWN');
    expect(empty.platform.refusals).toHaveLength(15);
  });

  it('refuse another value, and accept any of several', () => {
    const attester = new SoftwareAttester();
    attester.extend(4, sha256(utf8('a boot loader')));
    const value = toHex(attester.value(4));
    const wrong = verdict(attester, POLICY);
    expect(wrong.platform.state).toBe('VIOLATED');
    expect(wrong.platform.refusals).toMatchObject([{ code: 'PCR_MISMATCH', pointer: 'pcr:4' }]);
    const pcrs = { ...PCRS, 4: ['11'.repeat(32), value] };
    expect(verdict(attester, { ...POLICY, reference: { pcrs } }).platform.state).toBe('VERIFIED');
  });

  it('refuse a PCR that was extended when nothing explains it', () => {
    const attester = new SoftwareAttester();
    attester.extend(11, sha256(utf8('something')));
    const { 11: _, ...without } = PCRS;
    const policy = { ...POLICY, reference: { pcrs: without } };
    expect(codes(verdict(attester, policy))).toEqual(['PCR_UNEXPLAINED']);
    const excluded = verdict(attester, { ...policy, excluded: { 11: 'changes with every start' } });
    expect(excluded.platform.state).toBe('VERIFIED');
    expect(excluded.platform.limits).toContain('PCR 11 is not judged: changes with every start');
  });

  it('do not help a tier that the policy does not allow', () => {
    const attester = new SoftwareAttester();
    const strict = verdict(attester, { ...POLICY, tiers: ['A', 'B'] });
    expect(strict.platform).toMatchObject({ state: 'UNKNOWN', tier: 'C' });
    expect(codes(strict)).toEqual(['TIER_NOT_ALLOWED']);
  });

  it('do not help where the instance log’s PCR is not quoted', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const zero = ['00'.repeat(32)];
    const policy = { ...POLICY, pcrs: [0, 1, 2], reference: { pcrs: { 0: zero, 1: zero, 2: zero } } };
    const pcrs: Record<string, string> = Object.fromEntries([0, 1, 2].map((pcr) => [pcr, '00'.repeat(32)]));
    const message = attester.show(asked, {
      parts: { pcrs: [{ bank: 'sha256', values: pcrs }] },
      attest: { select: [{ bank: 'sha256', pcrs: [0, 1, 2] }] },
    });
    const appraisal = judge(attester, message, asked, { policy });
    expect(appraisal.authentic).toBe(true);
    expect(codes(appraisal)).toEqual(['LOG_WITHOUT_QUOTE']);
  });
});

describe('a policy document', () => {
  const copy = (): Record<string, unknown> => JSON.parse(JSON.stringify(POLICY));
  const digest = '11'.repeat(32);
  const value = { name: 'one', digest };

  it('is accepted as it is written', () => {
    expect(parsePolicy(copy())).toEqual(POLICY);
    const reference = {
      boot: [{ pcr: 4, class: 'boot-loader', values: [value], required: true }],
      ima: { classes: [{ name: 'tools', paths: ['/usr/bin/'], digests: [digest] }] },
    };
    expect(parsePolicy({ ...copy(), reference }).reference).toEqual(reference);
  });

  const ima = (...classes: unknown[]) => ({ reference: { ima: { classes } } });
  const boot = (...values: unknown[]) => ({ reference: { boot: [{ pcr: 4, class: 'kernel', values }] } });

  it.each<[string, Record<string, unknown>, string]>([
    ['a field that nobody knows', { extra: true }, '/extra'],
    ['no tier', { tiers: [] }, '/tiers'],
    ['no PCR', { pcrs: [] }, '/pcrs'],
    ['a PCR that does not exist', { pcrs: [24] }, '/pcrs/0'],
    ['another bank', { bank: 'sha1' }, '/bank'],
    ['an exclusion without a reason', { excluded: { 11: '' } }, '/excluded/11'],
    ['a reference value that is no digest', { reference: { pcrs: { 0: ['00'] } } }, '/reference/pcrs/0/0'],
    ['a PCR in a second spelling', { reference: { pcrs: { '07': ['00'.repeat(32)] } } }, '/reference/pcrs'],
    ['a PCR with no reference value in its list', { reference: { pcrs: { 0: [] } } }, '/reference/pcrs/0'],
    ['a class of boot measurements without values', boot(), '/reference/boot/0/values'],
    ['a value with digest and text', boot({ ...value, text: 'a', encoding: 'utf-8' }), '/reference/boot/0'],
    ['a text without its encoding', boot({ name: 'one', text: 'quiet' }), '/reference/boot/0/values/0'],
    ['no IMA class', ima(), '/reference/ima/classes'],
    ['a PCR that is spoken of and not quoted', { pcrs: [0, 1] }, '/reference/pcrs/2'],
    ['a PCR that is judged and excluded', { excluded: { 4: 'a reason' } }, '/excluded/4'],
    ['a class without reference values', ima({ name: 'a' }), '/reference/ima/classes/0'],
    [
      'two classes of one name',
      ima({ name: 'a', digests: [digest] }, { name: 'a', paths: ['/b/'], digests: [digest] }),
      '/reference/ima/classes/1/name',
    ],
    [
      'two classes for all other files',
      ima({ name: 'a', digests: [digest] }, { name: 'b', digests: [digest] }),
      '/reference/ima/classes/1',
    ],
    [
      'a path in two classes',
      ima({ name: 'a', paths: ['/b/'], digests: [digest] }, { name: 'b', paths: ['/b/'], digests: [digest] }),
      '/reference/ima/classes/1/paths/0',
    ],
  ])('is refused with %s', (_, change, pointer) => {
    expect(refused(() => parsePolicy({ ...copy(), ...change }))).toMatchObject({
      code: 'POLICY_INVALID',
      pointer: expect.stringContaining(pointer),
    });
  });
});

function refused(act: () => unknown): unknown {
  try {
    act();
  } catch (cause) {
    return cause;
  }
  throw new Error('nothing was refused');
}
