import { concat, sha256, utf8, Writer } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Authorization,
  create,
  createPrimary,
  flushContext,
  HANDLE,
  type Loaded,
  load,
  loadExternal,
  pcrExtend,
  policyAuthorize,
  policyAuthValue,
  policyCommandCode,
  policyGetDigest,
  policyOr,
  policyPcr,
  policySecret,
  readPcrs,
  sealedTemplate,
  sign,
  signingKeyTemplate,
  startPolicySession,
  storageTemplate,
  type Tpm,
  unseal,
  verifySignatureInTpm,
} from '../src/index.ts';
import { PolicyCalculator } from '../src/structures/index.ts';
import { refusalOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const CC_UNSEAL = 0x15e;
const DATA = utf8('sealed');
const SELECT = [{ bank: 'sha256' as const, pcrs: [7, 16] }];
const start = new PolicyCalculator('sha256');

let swtpm: Swtpm;
let tpm: Tpm;
let root: Loaded;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
  root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

async function pcrDigest(): Promise<Uint8Array> {
  return sha256(...(await readPcrs(tpm, 'sha256', [7, 16])).values());
}

async function withSession<T>(kind: 'policy' | 'trial', use: (session: number) => Promise<T>): Promise<T> {
  const session = await startPolicySession(tpm, kind);
  try {
    return await use(session);
  } finally {
    await flushContext(tpm, session);
  }
}

/** Seals under a policy, and unseals after `meet` has tried to meet it. */
async function opened(policy: Uint8Array, meet: (session: number) => Promise<void>): Promise<Uint8Array> {
  const made = await create(tpm, root, sealedTemplate(policy), { data: DATA });
  const sealed = await load(tpm, root, made);
  try {
    return await withSession('policy', async (session) => {
      await meet(session);
      const policySession: Authorization = { kind: 'policy', session };
      return unseal(tpm, sealed, { authorizations: [policySession] });
    });
  } finally {
    await flushContext(tpm, sealed);
  }
}

describe('a policy’s digest', () => {
  const steps: readonly (readonly [
    string,
    (session: number) => Promise<void>,
    () => Promise<PolicyCalculator>,
  ])[] = [
    ['PolicyPCR', (s) => policyPcr(tpm, s, SELECT), async () => start.pcr(SELECT, await pcrDigest())],
    [
      'PolicyCommandCode',
      (s) => policyCommandCode(tpm, s, CC_UNSEAL),
      async () => start.commandCode(CC_UNSEAL),
    ],
    ['PolicyAuthValue', (s) => policyAuthValue(tpm, s), async () => start.authValue()],
    [
      'PolicySecret',
      (s) => policySecret(tpm, s, HANDLE.endorsement),
      async () => start.secret(new Writer(4).u32(HANDLE.endorsement).finish()),
    ],
    [
      'PolicyOR',
      (s) => policyOr(tpm, s, [start.digest, sha256(DATA)]),
      async () => start.or([start.digest, sha256(DATA)]),
    ],
  ];
  for (const [name, assert, compute] of steps) {
    it(`is in software what it is in the TPM: ${name}`, async () => {
      const inTpm = await withSession('trial', async (session) => {
        await assert(session);
        return policyGetDigest(tpm, session);
      });
      expect((await compute()).digest).toEqual(inTpm);
    });
  }
});

describe('sealed data', () => {
  it('opens while PCRs hold what they held, and no longer', async () => {
    const policy = start.pcr(SELECT, await pcrDigest()).digest;
    expect(await opened(policy, (session) => policyPcr(tpm, session, SELECT))).toEqual(DATA);
    await pcrExtend(tpm, 16, [['sha256', sha256(DATA)]]);
    const refusal = await refusalOf(opened(policy, (session) => policyPcr(tpm, session, SELECT)));
    expect(refusal?.message).toMatch(/TPM_RC_POLICY_FAIL/);
  });

  it('opens by either branch of an OR, for the command that a branch names', async () => {
    const branches = [start.commandCode(CC_UNSEAL).digest, sha256(DATA)];
    const policy = start.or(branches).digest;
    const meet = (code: number) => async (session: number) => {
      await policyCommandCode(tpm, session, code);
      await policyOr(tpm, session, branches);
    };
    expect(await opened(policy, meet(CC_UNSEAL))).toEqual(DATA);
    expect((await refusalOf(opened(policy, meet(0x158))))?.message).toMatch(/TPM_RC_VALUE/);
  });

  it('opens by a policy that a key approved later, and by none that it did not', async () => {
    const made = await create(tpm, root, signingKeyTemplate());
    const signer = await load(tpm, root, made);
    const approved = start.commandCode(CC_UNSEAL).digest;
    const policyRef = utf8('release 2');
    const digest = sha256(concat(approved, policyRef));
    const signature = await sign(tpm, signer, digest);
    await flushContext(tpm, signer);
    const outside = await loadExternal(tpm, made.public);
    const ticket = await verifySignatureInTpm(tpm, outside, digest, signature);
    await flushContext(tpm, outside);

    const policy = start.authorize(signer.name, policyRef).digest;
    const meet = (ref: Uint8Array) => async (session: number) => {
      await policyCommandCode(tpm, session, CC_UNSEAL);
      await policyAuthorize(tpm, session, { policy: approved, policyRef: ref, signer: signer.name, ticket });
    };
    expect(await opened(policy, meet(policyRef))).toEqual(DATA);
    expect((await refusalOf(opened(policy, meet(utf8('release 3')))))?.message).toMatch(/TPM_RC_VALUE/);
  });
});
