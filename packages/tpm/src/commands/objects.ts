import { Writer } from '@kallio/codec';
import { type Authorization, NO_PASSWORD } from '../authorization.ts';
import { marshalPublic, type TpmtPublic } from '../structures/public.ts';
import { readSized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** A loaded object. */
export interface Loaded {
  readonly handle: number;
  /** TPMT_PUBLIC, as the TPM marshals it. */
  readonly public: Uint8Array;
  readonly name: Uint8Array;
}

/** TPM2_CreatePrimary (Part 3 section 24.1), without sensitive data or creation PCRs. */
export async function createPrimary(tpm: Tpm, hierarchy: number, template: TpmtPublic): Promise<Loaded> {
  const response = await tpm.execute({
    name: 'TPM2_CreatePrimary',
    code: 0x131,
    handles: [hierarchy],
    authorizations: [NO_PASSWORD],
    parameters: creation(template),
    returnsHandle: true,
  });
  const reader = response.parameters;
  const area = readSized(reader, 1024, 'The public area').slice();
  readSized(reader, 2048, 'The creation data');
  readSized(reader, 64, 'The creation hash');
  reader.u16('The ticket’s tag');
  reader.u32('The ticket’s hierarchy');
  readSized(reader, 64, 'The ticket’s digest');
  const name = readSized(reader, 66, 'The name').slice();
  reader.end('TPM2_CreatePrimary');
  return { handle: response.handle, public: area, name };
}

/** A created key that is not loaded: its private part is encrypted to its parent. */
export interface Created {
  readonly private: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly public: Uint8Array;
}

/** TPM2_Create (Part 3 section 12.1), without sensitive data or creation PCRs. */
export async function create(tpm: Tpm, parent: number, template: TpmtPublic): Promise<Created> {
  const response = await tpm.execute({
    name: 'TPM2_Create',
    code: 0x153,
    handles: [parent],
    authorizations: [NO_PASSWORD],
    parameters: creation(template),
  });
  const reader = response.parameters;
  const secret = readSized(reader, 2048, 'The private area').slice();
  const area = readSized(reader, 1024, 'The public area').slice();
  readSized(reader, 2048, 'The creation data');
  readSized(reader, 64, 'The creation hash');
  reader.u16('The ticket’s tag');
  reader.u32('The ticket’s hierarchy');
  readSized(reader, 64, 'The ticket’s digest');
  reader.end('TPM2_Create');
  return { private: secret, public: area };
}

/** TPM2_Load (Part 3 section 12.2). */
export async function load(tpm: Tpm, parent: number, key: Created): Promise<Loaded> {
  const parameters = new Writer();
  writeSized(parameters, key.private);
  writeSized(parameters, key.public);
  const response = await tpm.execute({
    name: 'TPM2_Load',
    code: 0x157,
    handles: [parent],
    authorizations: [NO_PASSWORD],
    parameters: parameters.finish(),
    returnsHandle: true,
  });
  const name = readSized(response.parameters, 66, 'The name').slice();
  response.parameters.end('TPM2_Load');
  return { handle: response.handle, public: key.public, name };
}

/** TPM2_ReadPublic (Part 3 section 12.4). */
export async function readPublicArea(
  tpm: Tpm,
  handle: number,
): Promise<{ public: Uint8Array; name: Uint8Array }> {
  const response = await tpm.execute({ name: 'TPM2_ReadPublic', code: 0x173, handles: [handle] });
  const reader = response.parameters;
  const area = readSized(reader, 1024, 'The public area').slice();
  const name = readSized(reader, 66, 'The name').slice();
  readSized(reader, 66, 'The qualified name');
  reader.end('TPM2_ReadPublic');
  return { public: area, name };
}

/** TPM2_FlushContext (Part 3 section 28.4). */
export async function flushContext(tpm: Tpm, handle: number): Promise<void> {
  const parameters = new Writer(4).u32(handle).finish();
  (await tpm.execute({ name: 'TPM2_FlushContext', code: 0x165, parameters })).parameters.end(
    'TPM2_FlushContext',
  );
}

/**
 * TPM2_ActivateCredential (Part 3 section 12.5). `credentialBlob` and `encryptedSecret` come without their outer size.
 */
export async function activateCredential(
  tpm: Tpm,
  input: {
    readonly activate: { readonly handle: number; readonly authorization: Authorization };
    readonly key: { readonly handle: number; readonly authorization: Authorization };
    readonly credentialBlob: Uint8Array;
    readonly encryptedSecret: Uint8Array;
  },
): Promise<Uint8Array> {
  const parameters = new Writer();
  writeSized(parameters, input.credentialBlob);
  writeSized(parameters, input.encryptedSecret);
  const response = await tpm.execute({
    name: 'TPM2_ActivateCredential',
    code: 0x147,
    handles: [input.activate.handle, input.key.handle],
    authorizations: [input.activate.authorization, input.key.authorization],
    parameters: parameters.finish(),
  });
  const secret = readSized(response.parameters, 64, 'The credential').slice();
  response.parameters.end('TPM2_ActivateCredential');
  return secret;
}

/** Empty sensitive area, template, no outside info, no creation PCRs. */
function creation(template: TpmtPublic): Uint8Array {
  const parameters = new Writer();
  writeSized(parameters, new Writer(4).u16(0).u16(0).finish());
  writeSized(parameters, marshalPublic(template));
  return parameters.u16(0).u32(0).finish();
}
