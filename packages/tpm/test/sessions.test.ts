import { sha256, utf8, Writer } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Authorization,
  activateCredential,
  akTemplate,
  clear,
  create,
  createPrimary,
  ekTemplate,
  flushContext,
  getCapability,
  getRandom,
  HANDLE,
  hierarchyChangeAuth,
  type Loaded,
  load,
  type NvPublic,
  nvDefineSpace,
  nvRead,
  nvUndefineSpace,
  nvWrite,
  pcrExtend,
  pcrRead,
  policyAuthValue,
  policyCommandCode,
  quote,
  readPublicArea,
  type Session,
  type SessionOptions,
  sealedTemplate,
  startSession,
  storageTemplate,
  type Tpm,
  unseal,
} from '../src/index.ts';
import {
  type HashName,
  type KeyedHashPublic,
  makeCredential,
  NV_ATTRIBUTE as NV,
  PolicyCalculator,
  parsePublic,
  parseSignature,
  verifySignature,
} from '../src/structures/index.ts';
import { codeOf, refusalOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const DATA = utf8('what nobody else may know');
const AUTH = utf8('a password\0\0');

/** Sealed data that wrong authorizations do not lock out: tests give many. */
function undying(authPolicy?: Uint8Array): KeyedHashPublic {
  const template = sealedTemplate(authPolicy);
  return { ...template, attributes: { ...template.attributes, noDA: true } };
}

let swtpm: Swtpm;
let tpm: Tpm;
let root: Loaded;
let sealed: Loaded;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
  root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  sealed = await load(tpm, root, await create(tpm, root, undying(), { userAuth: AUTH, data: DATA }));
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

async function withSession<T>(options: SessionOptions, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await startSession(tpm, options);
  try {
    return await use(session);
  } finally {
    await flushContext(tpm, session);
  }
}

function saltOf(key: Loaded): NonNullable<SessionOptions['salt']> {
  const area = parsePublic(key.public);
  if (area.type === 'keyedhash') throw new Error('not a key');
  return { handle: key.handle, public: area };
}

/** Unseals three times in a row: nonces roll on both sides, and the next command proves it. */
async function unsealsBy(session: Session, authValue: Uint8Array = AUTH): Promise<void> {
  const plain: Authorization = { kind: 'session', session, authValue };
  expect(await unseal(tpm, sealed, { authorizations: [plain] })).toEqual(DATA);
  expect(await unseal(tpm, sealed, { authorizations: [{ ...plain, encrypt: 'response' }] })).toEqual(DATA);
  expect(await unseal(tpm, sealed, { authorizations: [plain] })).toEqual(DATA);
}

describe('an HMAC session', () => {
  for (const hash of ['sha256', 'sha384', 'sha512'] as const satisfies readonly HashName[]) {
    it(`proves an authorization value without saying it: ${hash}`, async () => {
      await withSession({ hash }, unsealsBy);
    });
  }

  it('salted to an ECC key of P-256', async () => {
    await withSession({ salt: saltOf(root) }, unsealsBy);
  });

  it('salted to an ECC key of P-384, whose names are of SHA-384', async () => {
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    await withSession({ salt: saltOf(ek) }, async (session) => {
      await flushContext(tpm, ek);
      await unsealsBy(session);
    });
  });

  it('salted to an RSA key', async () => {
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('rsa2048'));
    await withSession({ salt: saltOf(ek) }, async (session) => {
      await flushContext(tpm, ek);
      await unsealsBy(session);
    });
  });

  it('bound to the object that it authorizes, and to another', async () => {
    await withSession({ bind: { to: sealed, authValue: AUTH } }, unsealsBy);
    await withSession({ bind: { to: root, authValue: new Uint8Array(0) } }, unsealsBy);
  });

  it('salted and bound', async () => {
    await withSession({ salt: saltOf(root), bind: { to: sealed, authValue: AUTH } }, unsealsBy);
  });

  it('counts an authorization value without the zeros at its end', async () => {
    await withSession({}, (session) => unsealsBy(session, utf8('a password')));
  });

  it('with a wrong authorization value is refused by the TPM', async () => {
    await withSession({}, async (session) => {
      const authorizations: Authorization[] = [{ kind: 'session', session, authValue: utf8('wrong') }];
      expect((await refusalOf(unseal(tpm, sealed, { authorizations })))?.message).toMatch(/TPM_RC_BAD_AUTH/);
      // The refused command rolled no nonce of the TPM's: the session is good for the next.
      await unsealsBy(session);
    });
  });

  it('bound with a wrong authorization value is refused by the TPM', async () => {
    await withSession({ bind: { to: sealed, authValue: utf8('wrong') } }, async (session) => {
      expect(await codeOf(unsealsBy(session))).toBe('TPM_RESPONSE');
    });
  });

  it('wants the Name of what it protects', async () => {
    await withSession({}, async (session) => {
      const authorizations: Authorization[] = [{ kind: 'session', session, authValue: AUTH }];
      expect(await codeOf(unseal(tpm, sealed.handle, { authorizations }))).toBe('TPM_NAME_UNKNOWN');
      expect(await unseal(tpm, sealed, { authorizations })).toEqual(DATA);
    });
  });

  it('ends with the command that ends it', async () => {
    const session = await startSession(tpm);
    const use: Authorization = { kind: 'session', session, authValue: AUTH };
    expect((await getCapability(tpm, 'handles', 0x0200_0000)).values).toContain(session.handle);
    expect(await unseal(tpm, sealed, { authorizations: [{ ...use, end: true }] })).toEqual(DATA);
    expect((await getCapability(tpm, 'handles', 0x0200_0000)).values).not.toContain(session.handle);
  });
});

describe('a session that authorizes nothing', () => {
  it('encrypts beside a password, and beside another session', async () => {
    await withSession({ salt: saltOf(root) }, async (session) => {
      const sessions = [{ kind: 'session', session, encrypt: 'response' } as const];
      const password: Authorization = { kind: 'password', password: AUTH };
      expect(await unseal(tpm, sealed, { authorizations: [password], sessions })).toEqual(DATA);
      await withSession({ hash: 'sha384' }, async (other) => {
        const proof: Authorization = { kind: 'session', session: other, authValue: AUTH };
        expect(await unseal(tpm, sealed, { authorizations: [proof], sessions })).toEqual(DATA);
      });
    });
  });

  it('encrypts both ways by two sessions, whose nonces the first authorization covers', async () => {
    const index: NvPublic = {
      index: 0x0150_0003,
      nameAlg: 'sha256',
      attributes: NV.ownerWrite | NV.ownerRead | NV.authRead | NV.authWrite | NV.noDA,
      authPolicy: new Uint8Array(0),
      dataSize: DATA.length,
    };
    await nvDefineSpace(tpm, index, AUTH);
    const salt = saltOf(root);
    await withSession({ salt }, (one) =>
      withSession({ salt }, (two) =>
        withSession({}, async (proof) => {
          const authorizations: Authorization[] = [{ kind: 'session', session: proof, authValue: AUTH }];
          const sessions = [
            { kind: 'session', session: one, encrypt: 'command' },
            { kind: 'session', session: two, encrypt: 'response' },
          ] as const;
          const written = await nvWrite(tpm, index, DATA, {
            by: 'index',
            authorizations,
            sessions: sessions.slice(0, 1),
          });
          const read = { by: 'index', authorizations, sessions: sessions.slice(1) } as const;
          expect(await nvRead(tpm, written, read)).toEqual(DATA);
          // GetRandom has no parameter to encrypt on its way in: one session for its way out.
          expect(await getRandom(tpm, 8, { sessions: [sessions[1]] })).toHaveLength(8);
          expect((await readPublicArea(tpm, root, { sessions: [sessions[1]] })).name).toEqual(root.name);
          await nvUndefineSpace(tpm, written);
        }),
      ),
    );
  });

  it('proves and encrypts when it creates a secret', async () => {
    await withSession({ salt: saltOf(root) }, async (session) => {
      const use: Authorization = { kind: 'session', session, encrypt: 'both' };
      const made = await create(tpm, root, undying(), { data: DATA, authorizations: [use] });
      const again = await load(tpm, root, made, { authorizations: [use] });
      const opened = await unseal(tpm, again, { authorizations: [{ ...use, encrypt: 'response' }] });
      expect(opened).toEqual(DATA);
      await flushContext(tpm, again);
    });
  });

  it('audits: the TPM’s digest of the session is ours', async () => {
    await withSession({}, async (session) => {
      const audit = { kind: 'session', session, audit: true } as const;
      await pcrExtend(tpm, 16, [['sha256', sha256(DATA)]], { sessions: [audit] });
      await pcrRead(tpm, [{ bank: 'sha256', pcrs: [16] }], { sessions: [audit] });
      // TPM2_GetSessionAuditDigest (Part 3 section 18.5), not signed.
      const response = await tpm.execute({
        name: 'TPM2_GetSessionAuditDigest',
        code: 0x14d,
        handles: [HANDLE.endorsement, HANDLE.null, session],
        authorizations: [0, 1].map(() => ({ kind: 'password' as const, password: new Uint8Array(0) })),
        parameters: new Writer(4).u16(0).u16(0x10).finish(),
      });
      const attest = Buffer.from(response.parameters.rest());
      expect(attest.includes(Buffer.from(session.auditDigest))).toBe(true);
      expect(session.auditDigest).not.toEqual(new Uint8Array(32));
    });
  });
});

describe('a policy session', () => {
  const policy = new PolicyCalculator('sha256').authValue().commandCode(0x15e).digest;
  const template = undying(policy);

  it('proves the authorization value that its policy asks for, salted or not', async () => {
    const item = await load(tpm, root, await create(tpm, root, template, { userAuth: AUTH, data: DATA }));
    for (const options of [{}, { salt: saltOf(root) }, { bind: { to: item, authValue: AUTH } }]) {
      await withSession({ ...options, kind: 'policy' }, async (session) => {
        const use: Authorization = { kind: 'session', session, authValue: AUTH, encrypt: 'response' };
        // Twice: a policy session begins anew after its use.
        for (let i = 0; i < 2; i++) {
          await policyAuthValue(tpm, session);
          await policyCommandCode(tpm, session, 0x15e);
          expect(await unseal(tpm, item, { authorizations: [use] })).toEqual(DATA);
        }
        await policyAuthValue(tpm, session);
        await policyCommandCode(tpm, session, 0x15e);
        const wrong = { ...use, authValue: utf8('wrong') };
        expect(await codeOf(unseal(tpm, item, { authorizations: [wrong] }))).toBe('TPM_RESPONSE');
      });
    }
    await flushContext(tpm, item);
  });

  it('encrypts with the object’s authorization value though its policy asks for none', async () => {
    const free = undying(new PolicyCalculator('sha256').commandCode(0x15e).digest);
    const item = await load(tpm, root, await create(tpm, root, free, { userAuth: AUTH, data: DATA }));
    await withSession({ kind: 'policy', salt: saltOf(root) }, async (session) => {
      await policyCommandCode(tpm, session, 0x15e);
      const use: Authorization = { kind: 'session', session, authValue: AUTH, encrypt: 'response' };
      expect(await unseal(tpm, item, { authorizations: [use] })).toEqual(DATA);
    });
    await flushContext(tpm, item);
  });
});

describe('commands with two authorizations, and those that change one', () => {
  it('activate a credential under a session each, the secret encrypted', async () => {
    await flushContext(tpm, sealed);
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    const { credentialBlob, encryptedSecret } = makeCredential(
      parsePublic(ek.public),
      root.name,
      sha256(DATA),
    );
    await withSession({ salt: saltOf(ek) }, (one) =>
      withSession({}, async (two) => {
        const secret = await activateCredential(tpm, {
          activate: { ...root, authorization: { kind: 'session', session: one, encrypt: 'response' } },
          key: { ...ek, authorization: { kind: 'session', session: two } },
          credentialBlob,
          encryptedSecret,
        });
        expect(secret).toEqual(sha256(DATA));
      }),
    );
    await flushContext(tpm, ek);
  });

  it('quote under a session', async () => {
    const ak = await createPrimary(tpm, HANDLE.owner, akTemplate());
    await withSession({ salt: saltOf(root) }, async (session) => {
      const authorizations: Authorization[] = [{ kind: 'session', session, encrypt: 'both' }];
      const { attest, signature } = await quote(tpm, ak, DATA, [{ bank: 'sha256', pcrs: [0] }], {
        authorizations,
      });
      verifySignature(parsePublic(ak.public), attest, parseSignature(signature));
    });
    await flushContext(tpm, ak);
  });

  it('are answered with the new authorization value: HierarchyChangeAuth, bound or not, and Clear', async () => {
    const salt = saltOf(root);
    const owner = (session: Session, authValue: string): { authorizations: Authorization[] } => ({
      authorizations: [{ kind: 'session', session, authValue: utf8(authValue), encrypt: 'command' }],
    });
    await withSession({ salt }, async (session) => {
      await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('first'), owner(session, ''));
      await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('second'), owner(session, 'first'));
    });
    const bind = { to: HANDLE.owner, authValue: utf8('second') };
    await withSession({ salt, bind }, async (session) => {
      await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('third'), owner(session, 'second'));
      // Bound to a value that is no more: it proves the new one as any other session.
      await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('fourth'), owner(session, 'third'));
    });
    await withSession({ salt }, async (session) => {
      await hierarchyChangeAuth(tpm, HANDLE.lockout, utf8('lockout'), owner(session, ''));
      await clear(tpm, { authorizations: [{ kind: 'session', session, authValue: utf8('lockout') }] });
    });
  });
});
