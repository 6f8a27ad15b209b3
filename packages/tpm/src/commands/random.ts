import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { copySized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_GetRandom (Part 3 section 16.1). May give fewer bytes than asked for. */
export async function getRandom(tpm: Tpm, bytes: number, protection: Protection = {}): Promise<Uint8Array> {
  const parameters = new Writer(2).u16(bytes).finish();
  const guard = protect(protection, 0);
  const response = await tpm.execute({ name: 'TPM2_GetRandom', code: 0x17b, ...guard, parameters });
  const random = copySized(response.parameters, bytes, 'The random bytes');
  response.parameters.end('TPM2_GetRandom');
  return random;
}
