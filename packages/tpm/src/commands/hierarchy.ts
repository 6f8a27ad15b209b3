import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import { writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_HierarchyChangeAuth (Part 3 section 24.8): a new authorization value for a hierarchy or for lockout. */
export async function hierarchyChangeAuth(
  tpm: Tpm,
  hierarchy: number,
  newAuth: Uint8Array,
  protection: Protection = {},
): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_HierarchyChangeAuth',
    code: 0x129,
    handles: [hierarchy],
    ...protect(protection, 1),
    parameters: writeSized(new Writer(), newAuth).finish(),
  });
  response.parameters.end('TPM2_HierarchyChangeAuth');
}

/** TPM2_Clear (Part 3 section 24.6), authorized by lockout: the owner's keys and NV indices are gone for good. */
export async function clear(tpm: Tpm, protection: Protection = {}): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_Clear',
    code: 0x126,
    handles: [HANDLE.lockout],
    ...protect(protection, 1),
  });
  response.parameters.end('TPM2_Clear');
}
