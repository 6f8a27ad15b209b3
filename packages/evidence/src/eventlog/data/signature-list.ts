import { type KallioError, Reader } from '@kallio/codec';
import { evidenceError } from '../../error.ts';
import { readGuid } from './guid.ts';

/** A list of keys or digests of one type, as PK, KEK, db and dbx hold them. */
export interface SignatureList {
  /** The name of the type where UEFI 2.10 section 32.4.1 has one, its GUID otherwise. */
  readonly type: string;
  readonly signatures: readonly Signature[];
}

/** EFI_SIGNATURE_DATA. */
export interface Signature {
  /** GUID of who put it there. */
  readonly owner: string;
  /** A certificate in DER, a digest: by the list's type. */
  readonly data: Uint8Array;
}

/** Types by GUID, with the size of their data where it is fixed (UEFI 2.10, section 32.4.1). */
const TYPES: ReadonlyMap<string, readonly [name: string, size?: number]> = new Map([
  ['826ca512-cf10-4ac9-b187-be01496631bd', ['sha1', 20]],
  ['0b6e5233-a65c-44c9-9407-d9ab83bfc8bd', ['sha224', 28]],
  ['c1c41626-504c-4092-aca9-41f936934328', ['sha256', 32]],
  ['ff3e5307-9fd0-48c9-85f1-8ad56c701e01', ['sha384', 48]],
  ['093e0fae-a6c4-4f50-9f1b-d41e2b89c19a', ['sha512', 64]],
  ['a5c059a1-94e4-4aa7-87b5-ab155c2bf072', ['x509']],
  ['3c5766e8-269c-4e34-aa14-ed776e85b3b6', ['rsa2048', 256]],
  ['e2b36190-879b-4a3d-ad8d-f2e7bba32784', ['rsa2048-sha256', 256]],
  ['67f8444f-8743-48f1-a328-1eaab8736080', ['rsa2048-sha1', 256]],
  ['3bd2a492-96c0-4079-b420-fcf98ef103ed', ['x509-sha256', 48]],
  ['7076876e-80c2-4ee6-aad2-28b349a6865b', ['x509-sha384', 64]],
  ['446dbf63-2502-4cda-bcfa-2465d2b0fe9d', ['x509-sha512', 80]],
  ['4aafd29d-68df-49ee-8aa9-347d375665a7', ['pkcs7']],
]);

const HEADER_BYTES = 28;
const OWNER_BYTES = 16;
/** More than any firmware's revocation list holds (they have a few thousand). */
const MAX_SIGNATURES = 65_536;

/**
 * Reads the EFI_SIGNATURE_LISTs of a variable (UEFI 2.10, section 32.4.1): each says how long it is, and how long each
 * signature in it is. Sizes that don't fit one another are `EVENTLOG_SIGNATURES`: software that trusted them has read past
 * its end, or gone round for ever.
 */
export function readSignatureLists(bytes: Uint8Array): SignatureList[] {
  const reader = new Reader(bytes);
  const lists: SignatureList[] = [];
  let count = 0;
  while (reader.remaining > 0) {
    const list = readList(reader);
    count += list.signatures.length;
    if (count > MAX_SIGNATURES) throw refused(`they hold more than ${MAX_SIGNATURES} signatures`);
    lists.push(list);
  }
  return lists;
}

function readList(reader: Reader): SignatureList {
  if (reader.remaining < HEADER_BYTES) throw refused(`a list can’t have ${reader.remaining} bytes`);
  const guid = readGuid(reader);
  const listSize = reader.u32le();
  const headerSize = reader.u32le();
  const signatureSize = reader.u32le();
  // Stops a list of no bytes, which never ends, and one that reaches past its variable.
  if (listSize < HEADER_BYTES || listSize - HEADER_BYTES > reader.remaining) {
    throw refused(`a list says that it has ${listSize} bytes of ${reader.remaining + HEADER_BYTES}`);
  }
  const body = listSize - HEADER_BYTES;
  if (headerSize > body) throw refused(`a header of ${headerSize} bytes stands in a list of ${listSize}`);
  const space = body - headerSize;
  // Stops a size of nothing, of less than an owner, and one that leaves bytes between or after the signatures.
  if (signatureSize <= OWNER_BYTES || space % signatureSize !== 0) {
    throw refused(`signatures of ${signatureSize} bytes don’t fill ${space} bytes`);
  }
  if (space / signatureSize > MAX_SIGNATURES)
    throw refused(`they hold more than ${MAX_SIGNATURES} signatures`);
  const [type, size] = TYPES.get(guid) ?? [guid];
  // Stops a digest from being read at another length than its type has.
  if (size !== undefined && signatureSize !== OWNER_BYTES + size) {
    throw refused(`a signature of type ${type} can’t have ${signatureSize} bytes`);
  }
  reader.bytes(headerSize);
  const signatures = Array.from({ length: space / signatureSize }, () => readOne(reader, signatureSize));
  return { type, signatures };
}

/** One EFI_SIGNATURE_DATA of so many bytes. */
function readOne(reader: Reader, size: number): Signature {
  return { owner: readGuid(reader), data: reader.bytes(size - OWNER_BYTES) };
}

/** The one EFI_SIGNATURE_DATA that let an image pass, as EV_EFI_VARIABLE_AUTHORITY holds it; `undefined` if it is none. */
export function readAuthority(bytes: Uint8Array): Signature | undefined {
  return bytes.length <= OWNER_BYTES ? undefined : readOne(new Reader(bytes), bytes.length);
}

function refused(why: string): KallioError {
  return evidenceError('EVENTLOG_SIGNATURES', `These signature lists can’t be read: ${why}.`);
}
