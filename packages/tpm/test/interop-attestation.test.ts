import { Reader } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  activateCredential,
  akTemplate,
  certify,
  create,
  createPrimary,
  type EkKind,
  ekTemplate,
  flushContext,
  HANDLE,
  type Loaded,
  load,
  loadExternal,
  makeCredentialInTpm,
  NO_PASSWORD,
  policySecret,
  quote,
  sign,
  signingKeyTemplate,
  startPolicySession,
  storageTemplate,
  type Tpm,
} from '../src/index.ts';
import {
  makeCredential,
  parseAttest,
  parsePublic,
  parseSignature,
  publicKeyOf,
  readSized,
  verifySignature,
} from '../src/structures/index.ts';
import { codeOf } from './support/refusal.ts';
import { Swtpm } from './support/swtpm.ts';

const NONCE = new Uint8Array(32).fill(7);
const NONCE_HEX = Buffer.from(NONCE).toString('hex');
const SECRET = new Uint8Array(32).fill(9);

let swtpm: Swtpm;
let tpm: Tpm;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});

/** Makes a key under a storage root. */
async function makeKey(template: Parameters<typeof create>[2]): Promise<Loaded> {
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  try {
    return await load(tpm, root.handle, await create(tpm, root.handle, template));
  } finally {
    await flushContext(tpm, root.handle);
  }
}

/** A TPM2B_PUBLIC, as tpm2-tools write it. */
function publicOf(file: string): Uint8Array {
  const reader = new Reader(swtpm.read(file));
  const area = readSized(reader, 1024, 'The public area').slice();
  reader.end();
  return area;
}

describe('quotes', () => {
  it('of ours are believed by tpm2_checkquote, and not with another nonce', async () => {
    const ak = await makeKey(akTemplate());
    const { attest, signature } = await quote(tpm, ak.handle, NONCE, [{ bank: 'sha256', pcrs: [0, 1, 7] }]);
    await flushContext(tpm, ak.handle);
    await tpm.close();
    swtpm.write('q.msg', attest);
    swtpm.write('q.sig', signature);
    const pem = publicKeyOf(parsePublic(ak.public)).export({ format: 'pem', type: 'spki' });
    swtpm.write('ak.pem', new Uint8Array(Buffer.from(pem)));
    const files = ['-u', 'ak.pem', '-m', 'q.msg', '-s', 'q.sig', '-g', 'sha256'];
    swtpm.offline('tpm2_checkquote', ...files, '-q', NONCE_HEX);
    expect(() => swtpm.offline('tpm2_checkquote', ...files, '-q', '00')).toThrow(/tpm2_checkquote/);
  });

  for (const [kind, scheme] of [
    ['ecc', 'ecdsa'],
    ['rsa', 'rsassa'],
    ['rsa', 'rsapss'],
  ] as const) {
    it(`of tpm2_quote are believed by us: ${scheme}`, async () => {
      await tpm.close();
      swtpm.tool('tpm2_createek', '-c', 'ek.ctx', '-G', 'ecc', '-u', 'ek.pub');
      const key = ['-G', kind, '-g', 'sha256', '-s', scheme, '-c', 'ak.ctx', '-u', 'ak.pub'];
      swtpm.tool('tpm2_createak', '-C', 'ek.ctx', ...key);
      const files = ['-m', 't.msg', '-s', 't.sig', '--scheme', scheme];
      swtpm.tool('tpm2_quote', '-c', 'ak.ctx', '-l', 'sha256:0,7', '-q', NONCE_HEX, ...files);
      const message = swtpm.read('t.msg');
      verifySignature(parsePublic(publicOf('ak.pub')), message, parseSignature(swtpm.read('t.sig')));
      const attest = parseAttest(message);
      expect(attest.type === 'quote' && attest.select).toEqual([{ bank: 'sha256', pcrs: [0, 7] }]);
      expect(attest.extraData).toEqual(NONCE);
    });
  }

  it('and certifications name what they say: a key beside the AK', async () => {
    const ak = await makeKey(akTemplate());
    const key = await makeKey(signingKeyTemplate());
    const { attest, signature } = await certify(tpm, key.handle, ak.handle, NONCE);
    const signed = await sign(tpm, key.handle, SECRET);
    await flushContext(tpm, ak.handle);
    await flushContext(tpm, key.handle);
    verifySignature(parsePublic(ak.public), attest, parseSignature(signature));
    const parsed = parseAttest(attest);
    expect(parsed.type === 'certify' && parsed.name).toEqual(key.name);
    expect(signed.scheme).toBe('ecdsa');
  });
});

describe('credentials', () => {
  const kinds: readonly (readonly [EkKind, string])[] = [
    ['rsa2048', 'rsa'],
    ['ecc-p256', 'ecc'],
  ];
  for (const [kind, algorithm] of kinds) {
    it(`of tpm2_makecredential are opened by us: ${kind}`, async () => {
      const ak = await makeKey(akTemplate());
      const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate(kind));
      await tpm.close();
      swtpm.write('ours.pub', Uint8Array.of(ek.public.length >> 8, ek.public.length & 255, ...ek.public));
      swtpm.write('secret', SECRET);
      const name = Buffer.from(ak.name).toString('hex');
      swtpm.offline(
        'tpm2_makecredential',
        '-T',
        'none',
        '-u',
        'ours.pub',
        '-s',
        'secret',
        '-n',
        name,
        '-o',
        'credential',
      );
      const made = credentialFile(swtpm.read('credential'));
      expect(await open(ak, ek, made)).toEqual(SECRET);
      made.credentialBlob[10] = (made.credentialBlob[10] ?? 0) ^ 1;
      expect(await codeOf(open(ak, ek, made))).toBe('TPM_RESPONSE');
      await flushContext(tpm, ak.handle);
      await flushContext(tpm, ek.handle);
    });

    it(`of ours are opened by tpm2_activatecredential: ${kind}`, async () => {
      await tpm.close();
      swtpm.tool('tpm2_createek', '-c', 'ek.ctx', '-G', algorithm, '-u', 'ek.pub');
      const key = [
        '-G',
        'ecc',
        '-g',
        'sha256',
        '-s',
        'ecdsa',
        '-c',
        'ak.ctx',
        '-u',
        'ak.pub',
        '-n',
        'ak.name',
      ];
      swtpm.tool('tpm2_createak', '-C', 'ek.ctx', ...key);
      const ek = publicOf('ek.pub');
      const name = swtpm.read('ak.name');
      const loaded = await loadExternal(tpm, ek);
      const inTpm = await makeCredentialInTpm(tpm, loaded, SECRET, name);
      await flushContext(tpm, loaded);
      await tpm.close();
      for (const made of [makeCredential(parsePublic(ek), name, SECRET), inTpm]) {
        swtpm.write('credential', credentialBytes(made));
        swtpm.tool('tpm2_startauthsession', '--policy-session', '-S', 'session');
        swtpm.tool('tpm2_policysecret', '-S', 'session', '-c', 'e');
        const args = [
          '-c',
          'ak.ctx',
          '-C',
          'ek.ctx',
          '-i',
          'credential',
          '-o',
          'opened',
          '-P',
          'session:session',
        ];
        swtpm.tool('tpm2_activatecredential', ...args);
        swtpm.tool('tpm2_flushcontext', 'session');
        expect(swtpm.read('opened')).toEqual(SECRET);
      }
    });
  }

  it('of ours are opened by an EK of P-384 too, and by none for another key', async () => {
    const ak = await makeKey(akTemplate());
    const ek = await createPrimary(tpm, HANDLE.endorsement, ekTemplate('ecc-p384'));
    const at = (loaded: Loaded) => ({ handle: loaded.handle, authorization: NO_PASSWORD });
    const forName = (name: Uint8Array) => {
      const { credentialBlob, encryptedSecret } = makeCredential(parsePublic(ek.public), name, SECRET);
      return activateCredential(tpm, { activate: at(ak), key: at(ek), credentialBlob, encryptedSecret });
    };
    expect(await forName(ak.name)).toEqual(SECRET);
    expect(await codeOf(forName(ek.name))).toBe('TPM_RESPONSE');
    await flushContext(tpm, ak.handle);
    await flushContext(tpm, ek.handle);
  });

  async function open(ak: Loaded, ek: Loaded, made: ReturnType<typeof credentialFile>): Promise<Uint8Array> {
    const session = await startPolicySession(tpm);
    try {
      await policySecret(tpm, session, HANDLE.endorsement);
      return await activateCredential(tpm, {
        activate: { handle: ak.handle, authorization: NO_PASSWORD },
        key: { handle: ek.handle, authorization: { kind: 'policy', session } },
        ...made,
      });
    } finally {
      await flushContext(tpm, session);
    }
  }
});

/** What tpm2_makecredential writes: magic, version, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET. */
function credentialFile(bytes: Uint8Array): { credentialBlob: Uint8Array; encryptedSecret: Uint8Array } {
  const reader = new Reader(bytes);
  expect(reader.u32()).toBe(0xbadcc0de);
  expect(reader.u32()).toBe(1);
  const credentialBlob = readSized(reader, 512, 'The credential').slice();
  const encryptedSecret = readSized(reader, 512, 'The secret').slice();
  reader.end();
  return { credentialBlob, encryptedSecret };
}

function credentialBytes(made: { credentialBlob: Uint8Array; encryptedSecret: Uint8Array }): Uint8Array {
  const sized = (bytes: Uint8Array) => [bytes.length >> 8, bytes.length & 255, ...bytes];
  const parts = [...sized(made.credentialBlob), ...sized(made.encryptedSecret)];
  return Uint8Array.of(0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1, ...parts);
}
