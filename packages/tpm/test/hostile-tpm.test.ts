import { KallioError, Writer } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as library from '../src/index.ts';
import {
  akTemplate,
  HANDLE,
  NO_PASSWORD,
  readPcrs,
  storageTemplate,
  Tpm,
  type Transport,
} from '../src/index.ts';
import type { NvPublic, Ticket } from '../src/structures/index.ts';

const BYTES = new Uint8Array(32).fill(7);
const NAME = new Uint8Array(34).fill(7);
const KEY = { handle: 0x8000_0000, name: NAME };
const NV: NvPublic = {
  index: 0x0180_0001,
  nameAlg: 'sha256',
  attributes: 0,
  authPolicy: new Uint8Array(0),
  dataSize: 2000,
};
const TICKET: Ticket = { tag: 0x8021, hierarchy: HANDLE.owner, digest: BYTES };
const CREATION = { hash: BYTES, ticket: TICKET };
const SELECT = [{ bank: 'sha256' as const, pcrs: [0, 7] }];
const CREATED = { private: BYTES, public: BYTES };
const SIGNATURE = { scheme: 'ecdsa' as const, hash: 'sha256' as const, r: BYTES, s: BYTES };
const CONTEXT = { sequence: 1n, savedHandle: 0x8000_0000, hierarchy: HANDLE.owner, blob: BYTES };
const APPROVED = { policy: BYTES, signer: NAME, ticket: TICKET };
const AUTHORIZED = { ...KEY, authorization: NO_PASSWORD };

/** Every command of the library, called as an honest program does. */
const CALLS: Readonly<Record<string, (tpm: Tpm) => Promise<unknown>>> = {
  activateCredential: (tpm) =>
    library.activateCredential(tpm, {
      activate: AUTHORIZED,
      key: AUTHORIZED,
      credentialBlob: BYTES,
      encryptedSecret: BYTES,
    }),
  certify: (tpm) => library.certify(tpm, KEY, KEY, BYTES),
  certifyCreation: (tpm) => library.certifyCreation(tpm, KEY, CREATION, KEY, BYTES),
  clear: (tpm) => library.clear(tpm),
  contextLoad: (tpm) => library.contextLoad(tpm, CONTEXT),
  contextSave: (tpm) => library.contextSave(tpm, KEY),
  create: (tpm) => library.create(tpm, KEY, akTemplate()),
  createPrimary: (tpm) => library.createPrimary(tpm, HANDLE.owner, storageTemplate()),
  evictControl: (tpm) => library.evictControl(tpm, KEY, 0x8100_0001),
  flushContext: (tpm) => library.flushContext(tpm, KEY),
  getCapability: async (tpm) => {
    for (const name of ['algorithms', 'handles', 'commands', 'pcrs', 'properties', 'curves'] as const) {
      await library.getCapability(tpm, name);
    }
  },
  getRandom: (tpm) => library.getRandom(tpm, 16),
  getTestResult: (tpm) => library.getTestResult(tpm),
  hierarchyChangeAuth: (tpm) => library.hierarchyChangeAuth(tpm, HANDLE.owner, BYTES),
  load: (tpm) => library.load(tpm, KEY, CREATED),
  loadExternal: (tpm) => library.loadExternal(tpm, BYTES),
  makeCredentialInTpm: (tpm) => library.makeCredentialInTpm(tpm, KEY, BYTES, NAME),
  nvCertify: (tpm) => library.nvCertify(tpm, NV, KEY, BYTES),
  nvDefineSpace: (tpm) => library.nvDefineSpace(tpm, NV),
  nvExtend: (tpm) => library.nvExtend(tpm, NV, BYTES),
  nvRead: (tpm) => library.nvRead(tpm, NV),
  nvReadPublic: (tpm) => library.nvReadPublic(tpm, NV.index),
  nvUndefineSpace: (tpm) => library.nvUndefineSpace(tpm, NV),
  nvWrite: (tpm) => library.nvWrite(tpm, NV, new Uint8Array(1200)),
  pcrEvent: (tpm) => library.pcrEvent(tpm, 16, BYTES),
  pcrExtend: (tpm) => library.pcrExtend(tpm, 16, [['sha256', BYTES]]),
  pcrRead: (tpm) => library.pcrRead(tpm, SELECT),
  policyAuthorize: (tpm) => library.policyAuthorize(tpm, 0x0300_0000, APPROVED),
  policyAuthValue: (tpm) => library.policyAuthValue(tpm, 0x0300_0000),
  policyCommandCode: (tpm) => library.policyCommandCode(tpm, 0x0300_0000, 0x15e),
  policyGetDigest: (tpm) => library.policyGetDigest(tpm, 0x0300_0000),
  policyOr: (tpm) => library.policyOr(tpm, 0x0300_0000, [BYTES, BYTES]),
  policyPcr: (tpm) => library.policyPcr(tpm, 0x0300_0000, SELECT),
  policySecret: (tpm) => library.policySecret(tpm, 0x0300_0000, HANDLE.endorsement),
  quote: (tpm) => library.quote(tpm, KEY, BYTES, SELECT),
  readClock: (tpm) => library.readClock(tpm),
  readPcrs: (tpm) => readPcrs(tpm, 'sha256', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
  readPublicArea: (tpm) => library.readPublicArea(tpm, KEY),
  selfTest: (tpm) => library.selfTest(tpm, true),
  shutdown: (tpm) => library.shutdown(tpm, 'clear'),
  sign: (tpm) => library.sign(tpm, KEY, BYTES),
  startPolicySession: (tpm) => library.startPolicySession(tpm),
  startSession: (tpm) => library.startSession(tpm),
  startup: (tpm) => library.startup(tpm, 'clear'),
  unseal: (tpm) => library.unseal(tpm, KEY),
  verifySignatureInTpm: (tpm) => library.verifySignatureInTpm(tpm, KEY, BYTES, SIGNATURE),
};

/** A TPM, or whoever sits in its place, that says this to every command; after `most` it is an endless conversation. */
function saying(response: (n: number, sessions: boolean) => Uint8Array, most: number): Transport {
  let n = 0;
  return {
    send: async (command) => {
      n += 1;
      if (n > most) throw new Error('an endless conversation');
      return response(n, command[1] === 2);
    },
    close: async () => undefined,
  };
}

/** A response that is whole by its header, with these parameters: what is wrong in it must be found inside. */
function whole(body: Uint8Array, sessions: boolean, handle: boolean): Uint8Array {
  const inner = new Writer();
  if (handle) inner.u32(0x8000_0000);
  if (sessions) inner.u32(body.length).bytes(body).u16(0).u8(1).u16(0);
  else inner.bytes(body);
  const bytes = inner.finish();
  return new Writer()
    .u16(sessions ? 0x8002 : 0x8001)
    .u32(10 + bytes.length)
    .u32(0)
    .bytes(bytes)
    .finish();
}

async function outcome(call: Promise<unknown>): Promise<'answered' | 'refused'> {
  try {
    await call;
    return 'answered';
  } catch (error) {
    expect(error).toBeInstanceOf(KallioError);
    return 'refused';
  }
}

/** Sizes and counts as an attacker likes them, among junk. */
const part = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom(
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xff, 0xff),
    Uint8Array.of(0, 0),
    Uint8Array.of(0, 0, 0, 0),
    Uint8Array.of(0, 0, 4, 0),
    Uint8Array.of(0, 0x20),
    Uint8Array.of(0, 0x0b),
    BYTES,
  ),
);
const body = fc
  .array(part, { maxLength: 6 })
  .map((parts) => new Uint8Array(parts.flatMap((bytes) => [...bytes])));

describe('a TPM that answers anything', () => {
  it('is asked by every command of the library here', () => {
    const commands = Object.entries(library).filter(
      ([name, value]) => typeof value === 'function' && /^[a-z]/.test(name) && !/Template$/.test(name),
    );
    const names = commands.map(([name]) => name).filter((name) => !NO_COMMANDS.has(name));
    expect(Object.keys(CALLS).toSorted()).toEqual(names.toSorted());
  });

  for (const [name, call] of Object.entries(CALLS)) {
    it(`is answered for or refused by name, and never for ever: ${name}`, async () => {
      await fc.assert(
        fc.asyncProperty(body, fc.boolean(), async (given, handle) => {
          const transport = saying((_, sessions) => whole(given, sessions, handle), 1000);
          await outcome(call(new Tpm(transport)));
        }),
        { numRuns: 60 },
      );
    });
  }

  it('is refused for a header that is not its response’s', async () => {
    const send = (bytes: Uint8Array) => outcome(library.getRandom(new Tpm(saying(() => bytes, 1)), 2));
    expect(await send(whole(Uint8Array.of(0, 2, 1, 2), false, false))).toBe('answered');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 9 }), async (short) => {
        expect(await send(short)).toBe('refused');
      }),
    );
    expect(await send(whole(Uint8Array.of(0, 2, 1, 2), true, false))).toBe('refused');
  });

  it('whose PCRs never keep still is read so often and no more', async () => {
    let commands = 0;
    /** Gives one PCR at a time, of those asked for, and has moved one each time. */
    const restless: Transport = {
      send: async (command) => {
        if (++commands > 1000) throw new Error('an endless conversation');
        // Behind header, number of selections, bank and length: the bit map, of which the lowest bit is answered.
        const bits = command[17] ?? 0;
        const selected = Uint8Array.of(bits & -bits, 0, 0);
        const list = new Writer().u32(commands).u32(1).u16(0x0b).u8(3).bytes(selected);
        return whole(list.u32(1).u16(32).bytes(BYTES).finish(), false, false);
      },
      close: async () => undefined,
    };
    const values = await readPcrs(new Tpm(restless), 'sha256', [0, 1]);
    expect([...values.keys()]).toEqual([0, 1]);
    expect(commands).toBeGreaterThan(2);
  });
});

/** Functions of the library that say nothing to a TPM. */
const NO_COMMANDS = new Set(['decodeResponseCode', 'openTransport', 'nvReference']);
