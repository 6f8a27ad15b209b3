import { join } from 'node:path';
import { Base64, decodeShape, Exact, fromBase64, KallioError, parseJson, toBase64 } from '@kallio/codec';
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
 * Loads the attester's AK and signing key, making them the first time. What is kept in `stateDir` is encrypted to this
 * TPM: on another one it is worth nothing, and says so.
 */
export async function openKeys(tpm: Tpm, stateDir: string): Promise<AttesterKeys> {
  const path = join(stateDir, 'keys.json');
  const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
  try {
    const kept = await readIfThere(path);
    const keys = kept === undefined ? await makeKeys(tpm, root.handle, path) : parse(kept);
    const ak = await loadOwn(tpm, root.handle, keys.ak);
    return { ak, signingKey: await loadOwn(tpm, root.handle, keys.signingKey) };
  } finally {
    // A TPM has three slots: the root's is needed for the EK.
    await flushContext(tpm, root.handle);
  }
}

async function makeKeys(tpm: Tpm, root: number, path: string): Promise<{ ak: Created; signingKey: Created }> {
  const ak = await create(tpm, root, akTemplate());
  const signingKey = await create(tpm, root, signingKeyTemplate());
  const file: Static<typeof KeyFile> = { ak: encode(ak), signingKey: encode(signingKey) };
  // Commit point: from here on the attester has these keys.
  await writeDurably(path, JSON.stringify(file));
  return { ak, signingKey };
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

function parse(bytes: Uint8Array): { ak: Created; signingKey: Created } {
  const file = decodeShape(KeyFile, parseJson(bytes), 'IDENTITY_STATE' satisfies IdentityCode, 'keys.json');
  const decode = (key: Static<typeof Key>): Created => ({
    private: fromBase64(key.private),
    public: fromBase64(key.public),
  });
  return { ak: decode(file.ak), signingKey: decode(file.signingKey) };
}
