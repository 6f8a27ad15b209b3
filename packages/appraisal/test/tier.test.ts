import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type AppraisalPolicy, type Endorsement, issueEar, parsePolicy, verifyEar } from '../src/index.ts';
import { NOW } from './support/appraise.ts';
import { MACHINE_POLICY, Machine } from './support/machine.ts';

const { boot = [], ima: _, ...reference } = MACHINE_POLICY.reference;
const HYPERVISOR: Endorsement = { kind: 'hypervisor', reason: 'our own lab, one operator' };

/** The machine's policy, with its command line as one that only a verified root has. */
const VERIFIED_ROOT: AppraisalPolicy = parsePolicy({
  ...MACHINE_POLICY,
  reference: {
    ...MACHINE_POLICY.reference,
    boot: boot.map((one) =>
      one.class === 'command-line'
        ? { ...one, values: one.values.map((value) => ({ ...value, verifiedRoot: true })) }
        : one,
    ),
  },
});

describe('the tier', () => {
  it.each<[string, 'A' | 'B' | 'C', Endorsement | undefined, AppraisalPolicy]>([
    ['measured boot and a verified root', 'A', { kind: 'maker' }, VERIFIED_ROOT],
    ['measured boot and IMA', 'B', { kind: 'maker' }, MACHINE_POLICY],
    [
      'the same on a virtual TPM whose hypervisor is believed, and a verified root',
      'A',
      HYPERVISOR,
      VERIFIED_ROOT,
    ],
    ['the same on a virtual TPM whose hypervisor is believed', 'B', HYPERVISOR, MACHINE_POLICY],
    ['a TPM that nobody vouches for', 'C', { kind: 'private' }, VERIFIED_ROOT],
    ['a TPM of which nothing is said', 'C', undefined, VERIFIED_ROOT],
  ])('of %s is %s', (_, tier, endorsement, policy) => {
    const change = { policy, endorsement: endorsement ?? { kind: 'private' as const } };
    const { platform } = new Machine().appraise(change);
    expect(platform).toMatchObject({ state: 'VERIFIED', tier });
  });

  it('is C where no file is judged and no root verified', () => {
    const policy = parsePolicy({
      ...MACHINE_POLICY,
      reference: { ...reference, boot },
      excluded: { 10: 'no files are judged here' },
    });
    const machine = new Machine();
    expect(machine.appraise({ policy }).platform.tier).toBe('C');
    expect(machine.appraise().platform.tier).toBe('B');
  });

  it.each([0, 4, 7])('is C where PCR %d is not judged', (pcr) => {
    const policy = parsePolicy({
      ...MACHINE_POLICY,
      reference: { ...MACHINE_POLICY.reference, boot: boot.filter((one) => one.pcr !== pcr) },
      excluded: { [pcr]: 'a reason' },
    });
    expect(new Machine().appraise({ policy }).platform).toMatchObject({ state: 'VERIFIED', tier: 'C' });
  });
});

describe('a virtual TPM', () => {
  it('is named as one in every verdict, with the operator’s reason', () => {
    const limits = (endorsement: Endorsement) =>
      new Machine().appraise({ endorsement }).platform.limits.join(' ');
    expect(limits(HYPERVISOR)).toMatch(
      /The TPM is virtual.*whoever runs the hypervisor.*our own lab, one operator/,
    );
    expect(limits({ kind: 'maker' })).not.toContain('virtual');
  });

  it('claims nothing of hardware in a result', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k' }] };
    const vectorOf = async (endorsement: Endorsement) => {
      const appraisal = new Machine().appraise({ endorsement });
      const at = { issuedAt: NOW, ttlSeconds: 60, key: privateKey, keyId: 'k', policyId: 'machine-1' };
      const ear = await issueEar({ issuer: 'v', attester: 'device-1', appraisal, ...at });
      return (await verifyEar(ear, { issuer: 'v', jwks }, NOW)).platform;
    };
    expect(await vectorOf(HYPERVISOR)).toMatchObject({ status: 'affirming', vector: { executables: 2 } });
    expect((await vectorOf(HYPERVISOR)).vector).not.toHaveProperty('hardware');
    expect((await vectorOf({ kind: 'maker' })).vector).toMatchObject({ hardware: 2 });
  });
});
