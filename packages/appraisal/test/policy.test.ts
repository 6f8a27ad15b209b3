import { decodeShape, sha256, toHex, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { AppraisalPolicy } from '../src/index.ts';
import { codes, judge, POLICY } from './support/appraise.ts';
import { question, SoftwareAttester } from './support/attester.ts';

function verdict(attester: SoftwareAttester, policy: AppraisalPolicy) {
  const asked = question();
  return judge(attester, attester.show(asked), asked, { policy });
}

describe('reference values', () => {
  it('make UNKNOWN where they are missing, never VERIFIED', () => {
    const attester = new SoftwareAttester();
    const { 4: _, ...without } = POLICY.reference.pcrs;
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
    const pcrs = { ...POLICY.reference.pcrs, 4: ['11'.repeat(32), value] };
    expect(verdict(attester, { ...POLICY, reference: { pcrs } }).platform.state).toBe('VERIFIED');
  });

  it('refuse a PCR that was extended when nothing explains it', () => {
    const attester = new SoftwareAttester();
    attester.extend(11, sha256(utf8('something')));
    const { 11: _, ...without } = POLICY.reference.pcrs;
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
    const policy = { ...POLICY, pcrs: [0, 1, 2] };
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
  const decode = (value: unknown) => decodeShape(AppraisalPolicy, value, 'POLICY');

  it('is accepted as it is written', () => {
    expect(decode(JSON.parse(JSON.stringify(POLICY)))).toEqual(POLICY);
  });

  it.each<[string, Record<string, unknown>]>([
    ['a field that nobody knows', { extra: true }],
    ['no tier', { tiers: [] }],
    ['no PCR', { pcrs: [] }],
    ['a PCR that does not exist', { pcrs: [24] }],
    ['another bank', { bank: 'sha1' }],
    ['an exclusion without a reason', { excluded: { 11: '' } }],
    ['a reference value that is no digest', { reference: { pcrs: { 0: ['00'] } } }],
    ['a PCR with no reference value in its list', { reference: { pcrs: { 0: [] } } }],
  ])('is refused with %s', (_, change) => {
    expect(() => decode({ ...JSON.parse(JSON.stringify(POLICY)), ...change })).toThrow();
  });
});
