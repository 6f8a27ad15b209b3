import { utf8 } from '@kallio/codec';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Attested,
  type Authorization,
  akTemplate,
  create,
  createPrimary,
  flushContext,
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
  type Protection,
  quote,
  type Session,
  sealedTemplate,
  shutdown,
  signingKeyTemplate,
  startSession,
  storageTemplate,
  Tpm,
  unseal,
} from '../src/index.ts';
import {
  type EccPublic,
  NV_ATTRIBUTE as NV,
  parseAttest,
  parsePublic,
  parseSignature,
  verifySignature,
} from '../src/structures/index.ts';
import { codeOfCommand, flipped, Interposer } from './support/interposer.ts';
import { codeOf, refusalOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const SECRET = utf8('what nobody on the bus may read');
const PASSWORD = utf8('an authorization value');
const NONCE = new Uint8Array(32).fill(5);
const SELECT = [{ bank: 'sha256' as const, pcrs: [0, 7] }];
const CC_QUOTE = 0x158;

let swtpm: Swtpm;
let bus: Interposer;
let tpm: Tpm;
let root: Loaded;
let ak: Loaded;
let session: Session;
beforeAll(async () => {
  swtpm = await Swtpm.start();
});
afterAll(async () => {
  await swtpm.remove();
});

/** A boot of its own for each test: a TPM that was betrayed is talked to no more. */
beforeEach(async () => {
  await swtpm.powerOff();
  await swtpm.powerOn();
  bus = new Interposer(swtpm.transport());
  tpm = new Tpm(bus);
  root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  ak = await createPrimary(tpm, HANDLE.owner, undying(akTemplate()));
  const salt = parsePublic(root.public);
  if (salt.type !== 'ecc') throw new Error('not an ECC key');
  session = await startSession(tpm, { salt: { handle: root.handle, public: salt } });
  bus.forget();
  return async () => {
    await tpm.close();
    // In order: the TPM counts a power loss as a wrong authorization.
    const last = swtpm.open();
    await shutdown(last, 'clear');
    await last.close();
  };
});

/** Wrong authorizations are not counted for it: tests give many. */
function undying(template: EccPublic): EccPublic {
  return { ...template, attributes: { ...template.attributes, noDA: true } };
}

const password: Authorization = { kind: 'password', password: PASSWORD };
const by = (encrypt?: 'command' | 'response' | 'both', authValue?: Uint8Array): Authorization => ({
  kind: 'session',
  session,
  ...(encrypt === undefined ? {} : { encrypt }),
  ...(authValue === undefined ? {} : { authValue }),
});

describe('someone who listens on the bus', () => {
  it('reads sealed data and its password without a session, and neither with one', async () => {
    const run = async (make: Protection, open: Authorization) => {
      const sensitive = { userAuth: PASSWORD, data: SECRET, ...make };
      const sealed = await load(tpm, root, await create(tpm, root, sealedTemplate(), sensitive));
      expect(await unseal(tpm, sealed, { authorizations: [open] })).toEqual(SECRET);
      await flushContext(tpm, sealed);
    };
    await run({ authorizations: [by('command')] }, by('response', PASSWORD));
    expect(bus.saw(SECRET)).toBe(false);
    expect(bus.saw(PASSWORD)).toBe(false);
    await run({}, password);
    expect(bus.saw(SECRET)).toBe(true);
    expect(bus.saw(PASSWORD)).toBe(true);
  });

  it('reads a response that only proves itself: an HMAC alone hides nothing', async () => {
    const sealed = await load(tpm, root, await create(tpm, root, sealedTemplate(), { data: SECRET }));
    bus.forget();
    expect(await unseal(tpm, sealed, { authorizations: [by('response')] })).toEqual(SECRET);
    expect(bus.saw(SECRET)).toBe(false);
    expect(await unseal(tpm, sealed, { authorizations: [by()] })).toEqual(SECRET);
    expect(bus.saw(SECRET)).toBe(true);
  });

  it('reads NV data and authorization values without a session, and neither with one', async () => {
    const index: NvPublic = {
      index: 0x0150_0004,
      nameAlg: 'sha256',
      attributes: NV.authWrite | NV.authRead | NV.noDA,
      authPolicy: new Uint8Array(0),
      dataSize: SECRET.length,
    };
    const run = async (define: Protection, write: Authorization, read: Authorization) => {
      await nvDefineSpace(tpm, index, PASSWORD, define);
      const now = await nvWrite(tpm, index, SECRET, { by: 'index', authorizations: [write] });
      expect(await nvRead(tpm, now, { by: 'index', authorizations: [read] })).toEqual(SECRET);
      await nvUndefineSpace(tpm, now);
    };
    await run({ authorizations: [by('command')] }, by('command', PASSWORD), by('response', PASSWORD));
    expect(bus.saw(SECRET)).toBe(false);
    expect(bus.saw(PASSWORD)).toBe(false);
    await run({}, password, password);
    expect(bus.saw(SECRET)).toBe(true);
    expect(bus.saw(PASSWORD)).toBe(true);
  });

  it('reads a hierarchy’s new authorization value without a session, and not with one', async () => {
    await hierarchyChangeAuth(tpm, HANDLE.endorsement, PASSWORD, { authorizations: [by('command')] });
    expect(bus.saw(PASSWORD)).toBe(false);
    const again = { authorizations: [by('command', PASSWORD)] };
    await hierarchyChangeAuth(tpm, HANDLE.endorsement, new Uint8Array(0), again);
    await hierarchyChangeAuth(tpm, HANDLE.endorsement, PASSWORD);
    expect(bus.saw(PASSWORD)).toBe(true);
    await hierarchyChangeAuth(tpm, HANDLE.endorsement, new Uint8Array(0), { authorizations: [password] });
  });

  it('reads random bytes without a session, and not with one', async () => {
    const sessions = [{ kind: 'session', session, encrypt: 'response' } as const];
    expect(bus.saw(await getRandom(tpm, 32, { sessions }))).toBe(false);
    expect(bus.saw(await getRandom(tpm, 32))).toBe(true);
  });
});

describe('someone who alters what goes over the bus', () => {
  const quoted = (protection: Protection) => quote(tpm, ak, NONCE, SELECT, protection);
  const good = (attested: Attested): boolean => {
    verifySignature(parsePublic(ak.public), attested.attest, parseSignature(attested.signature));
    return Buffer.from(parseAttest(attested.attest).extraData).equals(NONCE);
  };
  const protectedBy = (): Protection => ({ authorizations: [by('both')] });
  const onlyQuotes = (alter: (command: Uint8Array) => Uint8Array) => (command: Uint8Array) =>
    codeOfCommand(command) === CC_QUOTE ? alter(command) : command;

  it('is not there: a quote under a session is good, again and again', async () => {
    for (let i = 0; i < 3; i++) expect(good(await quoted(protectedBy()))).toBe(true);
  });

  // Header, handle, size and contents of the authorization area, then nonce, scheme and PCR selection.
  const places: readonly (readonly [string, number])[] = [
    ['the last byte of its PCR selection', -1],
    ['its bank', -6],
    ['its nonce', -15],
    ['the session’s attributes', -46 - 34 - 1],
    ['our nonce', -46 - 34 - 1 - 10],
  ];
  for (const [what, at] of places) {
    it(`has the TPM itself refuse a quote’s command: ${what}`, async () => {
      bus.alterCommand = onlyQuotes((command) => flipped(command, at));
      expect((await refusalOf(quoted(protectedBy())))?.code).toBe('TPM_RESPONSE');
      bus.forget();
      expect(good(await quoted(protectedBy()))).toBe(true);
    });
  }

  it('gets a quote over other PCRs when there is no session', async () => {
    bus.alterCommand = onlyQuotes((command) => flipped(command, -1));
    const { attest, signature } = await quoted({});
    verifySignature(parsePublic(ak.public), attest, parseSignature(signature));
    const parsed = parseAttest(attest);
    expect(parsed.type === 'quote' && parsed.select).not.toEqual(SELECT);
  });

  const answers: readonly (readonly [string, number])[] = [
    ['the attestation', 20],
    ['the signature', -69 - 10],
    ['the TPM’s nonce', -36 - 20],
    ['the session’s attributes', -35],
    ['the HMAC', -1],
  ];
  for (const [what, at] of answers) {
    it(`has us refuse a quote’s response, and say no more on this connection: ${what}`, async () => {
      bus.alterResponse = (response) => flipped(response, at);
      const refusal = await refusalOf(quoted(protectedBy()));
      expect(refusal?.code).toBe('TPM_RESPONSE_HMAC');
      expect(refusal?.hint).toBeDefined();
      bus.forget();
      expect(await codeOf(getRandom(tpm, 8))).toBe('TPM_RESPONSE_HMAC');
      expect(bus.commands).toBe(0);
    });
  }

  it('can’t repeat an old response: nonces roll', async () => {
    let first: Uint8Array | undefined;
    bus.alterResponse = (response) => {
      first ??= response;
      return first;
    };
    expect(good(await quoted(protectedBy()))).toBe(true);
    expect(await codeOf(quoted(protectedBy()))).toBe('TPM_RESPONSE_HMAC');
  });

  it('can’t repeat an old command to the TPM', async () => {
    let first: Uint8Array | undefined;
    bus.alterCommand = (command) => {
      first ??= command;
      return first;
    };
    expect(good(await quoted(protectedBy()))).toBe(true);
    expect(await codeOf(quoted(protectedBy()))).toBe('TPM_RESPONSE');
  });

  it('can’t take the session out of a response', async () => {
    bus.alterResponse = (response) => {
      const size = Buffer.from(response).readUInt32BE(10);
      const bare = Uint8Array.of(0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, ...response.subarray(14, 14 + size));
      Buffer.from(bare.buffer).writeUInt32BE(bare.length, 2);
      return bare;
    };
    expect(await codeOf(quoted(protectedBy()))).toBe('TPM_RESPONSE_MALFORMED');
  });

  it('can’t put another key behind the handle', async () => {
    const other = await createPrimary(tpm, HANDLE.owner, undying(signingKeyTemplate()));
    expect(other.name).not.toEqual(ak.name);
    bus.alterCommand = onlyQuotes((command) => {
      Buffer.from(command.buffer).writeUInt32BE(other.handle, 10);
      return command;
    });
    expect(await codeOf(quoted(protectedBy()))).toBe('TPM_RESPONSE');
    expect(await codeOf(quoted({}))).toBeUndefined();
  });
});
