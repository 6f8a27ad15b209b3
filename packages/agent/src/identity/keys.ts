import { join } from 'node:path';
import {
  Base64,
  decodeShape,
  Exact,
  equalBytes,
  fromBase64,
  KallioError,
  parseJson,
  toBase64,
} from '@kallio/codec';
import {
  akTemplate,
  type Created,
  create,
  createPrimary,
  flushContext,
  HANDLE,
  type Loaded,
  load,
  signingKeyTemplate,
  storageTemplate,
  type Tpm,
  TpmResponseError,
} from '@kallio/tpm';
import { parsePublic } from '@kallio/tpm/structures';
import type { Static } from 'typebox';
import { readIfThere, writeDurably } from '../files.ts';
import type { IdentityCode } from './error.ts';

const Key = Exact({ private: Base64(2048), public: Base64(1024) });
const KeyFile = Exact({ ak: Key, signingKey: Key });

/** The keys of an attester, loaded. */
export interface AttesterKeys {
  readonly ak: Loaded;
  readonly signingKey: Loaded;
}

/**
 * Loads the attester's AK and signing key, making them the first time. `signingPolicy` is the policy that the signing key
 * is to be under; one that is under another is replaced, as it could not be used as it should. What is kept in `stateDir` is encrypted to this
 * TPM: on another one it is worth nothing, and says so.
 */
export async function openKeys(
  tpm: Tpm,
  stateDir: string,
  signingPolicy?: Uint8Array,
): Promise<AttesterKeys> {
  const path = keyFile(stateDir);
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  try {
    const kept = await readIfThere(path);
    const found = kept === undefined ? undefined : parse(kept);
    const keys: Keys = {
      ak: found?.ak ?? (await create(tpm, root.handle, akTemplate())),
      signingKey:
        found !== undefined && isUnder(found.signingKey, signingPolicy)
          ? found.signingKey
          : await create(tpm, root.handle, signingKeyTemplate(signingPolicy)),
    };
    if (keys.ak !== found?.ak || keys.signingKey !== found.signingKey) await keep(path, keys);
    const ak = await loadOwn(tpm, root.handle, keys.ak);
    return { ak, signingKey: await loadOwn(tpm, root.handle, keys.signingKey) };
  } finally {
    // A TPM has three slots: the root's is needed for the EK.
    await flushContext(tpm, root.handle);
  }
}

/**
 * Makes a new signing key in place of the one that is kept. The old one's private part is gone with this: it signs
 * nothing more, and what it signed verifies as before, by the results that vouch for it.
 */
export async function replaceSigningKey(
  tpm: Tpm,
  stateDir: string,
  signingPolicy?: Uint8Array,
): Promise<void> {
  const { ak } = await keptKeys(stateDir);
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  try {
    const signingKey = await create(tpm, root.handle, signingKeyTemplate(signingPolicy));
    await keep(keyFile(stateDir), { ak, signingKey });
  } finally {
    await flushContext(tpm, root.handle);
  }
}

/** Loads the signing key that is kept. */
export async function loadSigningKey(tpm: Tpm, stateDir: string): Promise<Loaded> {
  const { signingKey } = await keptKeys(stateDir);
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  try {
    return await loadOwn(tpm, root.handle, signingKey);
  } finally {
    await flushContext(tpm, root.handle);
  }
}

async function keptKeys(stateDir: string): Promise<Keys> {
  const kept = await readIfThere(keyFile(stateDir));
  if (kept !== undefined) return parse(kept);
  throw new KallioError<IdentityCode>(
    'IDENTITY_STATE',
    'The attester’s keys are gone from its state folder.',
  );
}

interface Keys {
  readonly ak: Created;
  readonly signingKey: Created;
}

function keyFile(stateDir: string): string {
  return join(stateDir, 'keys.json');
}

/** Is a key's use governed as it is to be? */
function isUnder(key: Created, signingPolicy: Uint8Array | undefined): boolean {
  const { authPolicy, attributes } = parsePublic(key.public);
  const wanted = signingPolicy ?? new Uint8Array(0);
  return equalBytes(authPolicy, wanted) && attributes.userWithAuth === (signingPolicy === undefined);
}

async function keep(path: string, { ak, signingKey }: Keys): Promise<void> {
  const file: Static<typeof KeyFile> = { ak: encode(ak), signingKey: encode(signingKey) };
  // Commit point: from here on the attester has these keys.
  await writeDurably(path, JSON.stringify(file));
}

async function loadOwn(tpm: Tpm, root: number, key: Created): Promise<Loaded> {
  try {
    return await load(tpm, root, key);
  } catch (error) {
    // TPM_RC_INTEGRITY about the first parameter. Attack: a state folder copied to another machine.
    if (error instanceof TpmResponseError && (error.responseCode & 0xbf) === 0x9f) {
      throw new KallioError<IdentityCode>(
        'IDENTITY_OTHER_TPM',
        'The keys in the state folder are not of this TPM.',
        {
          hint: 'A state folder is of use on its own TPM only. After TPM2_Clear or a new TPM, move it away and enrol again.',
          cause: error,
        },
      );
    }
    throw error;
  }
}

function encode(key: Created): { private: string; public: string } {
  return { private: toBase64(key.private), public: toBase64(key.public) };
}

function parse(bytes: Uint8Array): Keys {
  const file = decodeShape(KeyFile, parseJson(bytes), 'IDENTITY_STATE' satisfies IdentityCode, 'keys.json');
  const decode = (key: Static<typeof Key>): Created => ({
    private: fromBase64(key.private),
    public: fromBase64(key.public),
  });
  return { ak: decode(file.ak), signingKey: decode(file.signingKey) };
}
