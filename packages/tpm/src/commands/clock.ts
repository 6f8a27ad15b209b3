import type { ClockInfo } from '../structures/attest.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_ReadClock (Part 3 section 29.1). */
export async function readClock(tpm: Tpm): Promise<ClockInfo & { readonly time: bigint }> {
  const { parameters } = await tpm.execute({ name: 'TPM2_ReadClock', code: 0x181 });
  const read = {
    time: parameters.u64('The time'),
    clock: parameters.u64('The clock'),
    resetCount: parameters.u32('The reset count'),
    restartCount: parameters.u32('The restart count'),
    safe: parameters.u8('The safe flag') === 1,
  };
  parameters.end('TPM2_ReadClock');
  return read;
}
