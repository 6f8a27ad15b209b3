import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import type { Reference } from '../reference.ts';
import { Session } from '../sessions/session.ts';
import { type PcrSelection, writePcrSelections } from '../structures/pcr-selection.ts';
import { copySized, readSized, writeSized } from '../structures/sized.ts';
import { readTicket, type Ticket, writeTicket } from '../structures/ticket.ts';
import type { Tpm } from '../tpm.ts';

const NONE = new Uint8Array(0);

/** TPM2_PolicySecret (Part 3 section 23.4), with the authorization of `entity` (the empty password by default). */
export async function policySecret(
  tpm: Tpm,
  session: Reference,
  entity: Reference,
  protection: Protection = {},
): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_PolicySecret',
    code: 0x151,
    handles: [entity, session],
    ...protect(protection, 1),
    // No nonce, no command parameters, no reference, no expiration.
    parameters: new Writer().u16(0).u16(0).u16(0).u32(0).finish(),
  });
  const reader = response.parameters;
  readSized(reader, 64, 'The timeout');
  readTicket(reader);
  reader.end('TPM2_PolicySecret');
}

/** TPM2_PolicyPCR (Part 3 section 23.7). Without a digest, the PCRs' values of this moment. */
export async function policyPcr(
  tpm: Tpm,
  session: Reference,
  selections: readonly PcrSelection[],
  pcrDigest: Uint8Array = NONE,
): Promise<void> {
  const parameters = writePcrSelections(writeSized(new Writer(), pcrDigest), selections).finish();
  await assert(tpm, 'TPM2_PolicyPCR', 0x17f, session, parameters);
}

/** TPM2_PolicyOR (Part 3 section 23.6): the session's digest is one of 2 to 8. */
export async function policyOr(tpm: Tpm, session: Reference, digests: readonly Uint8Array[]): Promise<void> {
  const parameters = new Writer().u32(digests.length);
  for (const digest of digests) writeSized(parameters, digest);
  await assert(tpm, 'TPM2_PolicyOR', 0x171, session, parameters.finish());
}

/** TPM2_PolicyCommandCode (Part 3 section 23.11): good for this command only. */
export async function policyCommandCode(tpm: Tpm, session: Reference, code: number): Promise<void> {
  await assert(tpm, 'TPM2_PolicyCommandCode', 0x16c, session, new Writer(4).u32(code).finish());
}

/** TPM2_PolicyAuthValue (Part 3 section 23.17): good only with the object's authorization value in the HMAC. */
export async function policyAuthValue(tpm: Tpm, session: Reference): Promise<void> {
  await assert(tpm, 'TPM2_PolicyAuthValue', 0x16b, session, NONE);
  if (session instanceof Session) session.provesAuthValue = true;
}

/** A policy that a key signed, and the TPM's own ticket that it verified the signature. */
export interface ApprovedPolicy {
  readonly policy: Uint8Array;
  readonly policyRef?: Uint8Array;
  /** Name of the key that signed `hash(policy ‖ policyRef)`. */
  readonly signer: Uint8Array;
  readonly ticket: Ticket;
}

/** TPM2_PolicyAuthorize (Part 3 section 23.16): the session's digest is one that `signer` approved. */
export async function policyAuthorize(tpm: Tpm, session: Reference, approved: ApprovedPolicy): Promise<void> {
  const parameters = new Writer();
  writeSized(parameters, approved.policy);
  writeSized(parameters, approved.policyRef ?? NONE);
  writeSized(parameters, approved.signer);
  await assert(
    tpm,
    'TPM2_PolicyAuthorize',
    0x16a,
    session,
    writeTicket(parameters, approved.ticket).finish(),
  );
}

/** TPM2_PolicyGetDigest (Part 3 section 23.19). */
export async function policyGetDigest(tpm: Tpm, session: Reference): Promise<Uint8Array> {
  const { parameters } = await tpm.execute({ name: 'TPM2_PolicyGetDigest', code: 0x189, handles: [session] });
  const digest = copySized(parameters, 64, 'The policy digest');
  parameters.end('TPM2_PolicyGetDigest');
  return digest;
}

/** A policy assertion: one session, no authorization, nothing given back. */
async function assert(
  tpm: Tpm,
  name: string,
  code: number,
  session: Reference,
  parameters: Uint8Array,
): Promise<void> {
  (await tpm.execute({ name, code, handles: [session], parameters })).parameters.end(name);
}
