import { type Reader, Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import type { Reference } from '../reference.ts';
import { marshalPublic, type TpmtPublic } from '../structures/public.ts';
import { copySized, readSized, writeSized } from '../structures/sized.ts';
import { readTicket, type Ticket } from '../structures/ticket.ts';
import type { Tpm } from '../tpm.ts';

/** A loaded object. */
export interface Loaded {
  readonly handle: number;
  /** TPMT_PUBLIC, as the TPM marshals it. */
  readonly public: Uint8Array;
  readonly name: Uint8Array;
}

/** A created key that is not loaded: its private part is encrypted to its parent. */
export interface Created {
  readonly private: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly public: Uint8Array;
}

/** What TPM2_CertifyCreation takes: proof that this TPM created the object. */
export interface Creation {
  readonly hash: Uint8Array;
  readonly ticket: Ticket;
}

/** What goes into a new object that the outside knows (TPMS_SENSITIVE_CREATE, Part 2 section 11.1.15). */
export interface Sensitive extends Protection {
  /** Its authorization value. */
  readonly userAuth?: Uint8Array;
  /** Data to seal. */
  readonly data?: Uint8Array;
}

/** TPM2_CreatePrimary (Part 3 section 24.1), without creation PCRs. */
export async function createPrimary(
  tpm: Tpm,
  hierarchy: number,
  template: TpmtPublic,
  sensitive: Sensitive = {},
): Promise<Loaded & { readonly creation: Creation }> {
  const response = await tpm.execute({
    name: 'TPM2_CreatePrimary',
    code: 0x131,
    handles: [hierarchy],
    ...protect(sensitive, 1),
    parameters: creationOf(template, sensitive),
    returnsHandle: true,
  });
  const reader = response.parameters;
  const area = copySized(reader, 1024, 'The public area');
  const creation = readCreation(reader);
  const name = copySized(reader, 66, 'The name');
  reader.end('TPM2_CreatePrimary');
  return { handle: response.handle, public: area, name, creation };
}

/** TPM2_Create (Part 3 section 12.1), without creation PCRs. */
export async function create(
  tpm: Tpm,
  parent: Reference,
  template: TpmtPublic,
  sensitive: Sensitive = {},
): Promise<Created & { readonly creation: Creation }> {
  const response = await tpm.execute({
    name: 'TPM2_Create',
    code: 0x153,
    handles: [parent],
    ...protect(sensitive, 1),
    parameters: creationOf(template, sensitive),
  });
  const reader = response.parameters;
  const secret = copySized(reader, 2048, 'The private area');
  const area = copySized(reader, 1024, 'The public area');
  const creation = readCreation(reader);
  reader.end('TPM2_Create');
  return { private: secret, public: area, creation };
}

/** TPM2_Load (Part 3 section 12.2). */
export async function load(
  tpm: Tpm,
  parent: Reference,
  key: Created,
  protection: Protection = {},
): Promise<Loaded> {
  const parameters = new Writer();
  writeSized(parameters, key.private);
  writeSized(parameters, key.public);
  const response = await tpm.execute({
    name: 'TPM2_Load',
    code: 0x157,
    handles: [parent],
    ...protect(protection, 1),
    parameters: parameters.finish(),
    returnsHandle: true,
  });
  const name = copySized(response.parameters, 66, 'The name');
  response.parameters.end('TPM2_Load');
  return { handle: response.handle, public: key.public, name };
}

/**
 * TPM2_LoadExternal (Part 3 section 12.3) of a public area alone: to verify signatures and make credentials. A ticket of
 * TPM2_VerifySignature is worth something only with a hierarchy other than the null one.
 */
export async function loadExternal(
  tpm: Tpm,
  key: Uint8Array,
  hierarchy: number = HANDLE.owner,
): Promise<Loaded> {
  const response = await tpm.execute({
    name: 'TPM2_LoadExternal',
    code: 0x167,
    parameters: writeSized(new Writer().u16(0), key).u32(hierarchy).finish(),
    returnsHandle: true,
  });
  const name = copySized(response.parameters, 66, 'The name');
  response.parameters.end('TPM2_LoadExternal');
  return { handle: response.handle, public: key, name };
}

/** TPM2_ReadPublic (Part 3 section 12.4). */
export async function readPublicArea(
  tpm: Tpm,
  handle: Reference,
  protection: Protection = {},
): Promise<{ public: Uint8Array; name: Uint8Array }> {
  const guard = protect(protection, 0);
  const response = await tpm.execute({ name: 'TPM2_ReadPublic', code: 0x173, handles: [handle], ...guard });
  const reader = response.parameters;
  const area = copySized(reader, 1024, 'The public area');
  const name = copySized(reader, 66, 'The name');
  readSized(reader, 66, 'The qualified name');
  reader.end('TPM2_ReadPublic');
  return { public: area, name };
}

/** TPM2_Unseal (Part 3 section 12.7): the data that was sealed in an object. */
export async function unseal(tpm: Tpm, item: Reference, protection: Protection = {}): Promise<Uint8Array> {
  const response = await tpm.execute({
    name: 'TPM2_Unseal',
    code: 0x15e,
    handles: [item],
    ...protect(protection, 1),
  });
  const data = copySized(response.parameters, 256, 'The sealed data');
  response.parameters.end('TPM2_Unseal');
  return data;
}

/** Sensitive area, template, no outside info, no creation PCRs. */
function creationOf(template: TpmtPublic, sensitive: Sensitive): Uint8Array {
  const none = new Uint8Array(0);
  const inner = writeSized(new Writer(), sensitive.userAuth ?? none);
  const parameters = writeSized(new Writer(), writeSized(inner, sensitive.data ?? none).finish());
  writeSized(parameters, marshalPublic(template));
  return parameters.u16(0).u32(0).finish();
}

function readCreation(reader: Reader): Creation {
  readSized(reader, 2048, 'The creation data');
  const hash = copySized(reader, 64, 'The creation hash');
  return { hash, ticket: readTicket(reader) };
}
