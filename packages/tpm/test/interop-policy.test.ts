import { concat, sha256, utf8, Writer } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Authorization,
  create,
  createPrimary,
  evictControl,
  flushContext,
  HANDLE,
  load,
  policyAuthorize,
  policyAuthValue,
  policyCommandCode,
  policyGetDigest,
  policyOr,
  policyPcr,
  policySecret,
  readPcrs,
  sealedTemplate,
  startPolicySession,
  startSession,
  storageTemplate,
  type Tpm,
  unseal,
} from '../src/index.ts';
import { PolicyCalculator } from '../src/structures/index.ts';
import { Swtpm } from './support/swtpm.ts';
import { fromSizedFile, sizedFile } from './support/tool-files.ts';

const ROOT = 0x8100_0001;
const DATA = utf8('sealed under a policy');
const SELECT = [{ bank: 'sha256' as const, pcrs: [7, 16] }];
const CC_UNSEAL = 0x15e;
const start = new PolicyCalculator('sha256');
const NAME = concat(Uint8Array.of(0, 0x0b), sha256(utf8('a key')));

let swtpm: Swtpm;
let tpm: Tpm;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  await evictControl(tpm, root, ROOT);
  await flushContext(tpm, root);
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

/** The digest that tpm2-tools come to in a session of theirs. */
async function theirs(
  kind: 'policy' | 'trial',
  ...steps: readonly (readonly [string, ...string[]])[]
): Promise<Uint8Array> {
  await tpm.close();
  swtpm.tool('tpm2_startauthsession', '-S', 's.ctx', ...(kind === 'policy' ? ['--policy-session'] : []));
  for (const [tool, ...args] of steps) swtpm.tool(tool, '-S', 's.ctx', '-L', 'digest', ...args);
  swtpm.tool('tpm2_flushcontext', 's.ctx');
  return swtpm.read('digest');
}

/** The digest that we come to in a trial session. */
async function ours(assert: (session: number) => Promise<void>): Promise<Uint8Array> {
  const session = await startPolicySession(tpm, 'trial');
  await assert(session);
  const digest = await policyGetDigest(tpm, session);
  await flushContext(tpm, session);
  return digest;
}

describe('a policy’s digest is the same by tpm2-tools, by our commands and in software', () => {
  it('tpm2_policypcr', async () => {
    const pcrs = sha256(...(await readPcrs(tpm, 'sha256', [7, 16])).values());
    const digest = await ours((session) => policyPcr(tpm, session, SELECT));
    expect(start.pcr(SELECT, pcrs).digest).toEqual(digest);
    expect(await theirs('trial', ['tpm2_policypcr', '-l', 'sha256:7,16'])).toEqual(digest);
  });

  it('tpm2_policycommandcode, tpm2_policyauthvalue', async () => {
    const digest = await ours(async (session) => {
      await policyCommandCode(tpm, session, CC_UNSEAL);
      await policyAuthValue(tpm, session);
    });
    expect(start.commandCode(CC_UNSEAL).authValue().digest).toEqual(digest);
    const steps = [['tpm2_policycommandcode', 'TPM2_CC_Unseal'], ['tpm2_policyauthvalue']] as const;
    expect(await theirs('trial', ...steps)).toEqual(digest);
  });

  it('tpm2_policysecret', async () => {
    const digest = await ours((session) => policySecret(tpm, session, HANDLE.endorsement));
    expect(start.secret(new Writer(4).u32(HANDLE.endorsement).finish()).digest).toEqual(digest);
    expect(await theirs('trial', ['tpm2_policysecret', '-c', 'e'])).toEqual(digest);
  });

  it('tpm2_policyor', async () => {
    const branches = [start.commandCode(CC_UNSEAL).digest, start.authValue().digest];
    const digest = await ours((session) => policyOr(tpm, session, branches));
    expect(start.or(branches).digest).toEqual(digest);
    branches.forEach((branch, at) => {
      swtpm.write(`branch${at}`, branch);
    });
    expect(await theirs('trial', ['tpm2_policyor', '-l', 'sha256:branch0,branch1'])).toEqual(digest);
  });

  it('tpm2_policyauthorize', async () => {
    swtpm.write('approved', start.authValue().digest);
    swtpm.write('name', NAME);
    // A trial asks for no ticket: nothing is authorized by it.
    const ticket = { tag: 0x8022, hierarchy: HANDLE.null, digest: new Uint8Array(0) };
    const approved = { policy: start.authValue().digest, signer: NAME, ticket };
    const digest = await ours((session) => policyAuthorize(tpm, session, approved));
    expect(start.authorize(NAME).digest).toEqual(digest);
    const args = ['-i', 'approved', '-n', 'name'];
    expect(await theirs('trial', ['tpm2_policyauthorize', ...args])).toEqual(digest);
  });
});

describe('data sealed under a policy', () => {
  it('by tpm2_create opens here, with an HMAC and encrypted', async () => {
    const policy = start.commandCode(CC_UNSEAL).authValue().digest;
    await tpm.close();
    swtpm.write('data', DATA);
    swtpm.write('policy', policy);
    const files = ['-i', 'data', '-L', 'policy', '-p', 'word', '-u', 't.pub', '-r', 't.priv'];
    swtpm.tool('tpm2_create', '-C', '0x81000001', ...files, '-a', 'fixedtpm|fixedparent');
    const made = { public: fromSizedFile(swtpm.read('t.pub')), private: fromSizedFile(swtpm.read('t.priv')) };
    const sealed = await load(tpm, ROOT, made);
    const session = await startSession(tpm, { kind: 'policy' });
    await policyCommandCode(tpm, session, CC_UNSEAL);
    await policyAuthValue(tpm, session);
    const use: Authorization = { kind: 'session', session, authValue: utf8('word'), encrypt: 'response' };
    expect(await unseal(tpm, sealed, { authorizations: [use] })).toEqual(DATA);
    await flushContext(tpm, session);
    await flushContext(tpm, sealed);
  });

  it('by us opens with tpm2_unseal while the PCRs hold what they held', async () => {
    const policy = await ours((session) => policyPcr(tpm, session, SELECT));
    const made = await create(tpm, ROOT, sealedTemplate(policy), { data: DATA });
    await tpm.close();
    swtpm.write('o.pub', sizedFile(made.public));
    swtpm.write('o.priv', sizedFile(made.private));
    swtpm.tool('tpm2_load', '-C', '0x81000001', '-u', 'o.pub', '-r', 'o.priv', '-c', 'o.ctx');
    const open = () => swtpm.tool('tpm2_unseal', '-c', 'o.ctx', '-p', 'pcr:sha256:7,16');
    expect(open()).toBe('sealed under a policy');
    swtpm.tool('tpm2_pcrevent', '16', 'o.pub');
    expect(open).toThrow(/policy check failed/);
  });
});
