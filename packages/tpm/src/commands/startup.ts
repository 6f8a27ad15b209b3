import { Writer } from '@kallio/codec';
import type { Tpm } from '../tpm.ts';

/** TPM2_Startup (Part 3 section 9.3). */
export async function startup(tpm: Tpm, type: 'clear' | 'state'): Promise<void> {
  const parameters = new Writer(2).u16(type === 'clear' ? 0 : 1).finish();
  (await tpm.execute({ name: 'TPM2_Startup', code: 0x144, parameters })).parameters.end('TPM2_Startup');
}

/** TPM2_Shutdown (Part 3 section 9.4). */
export async function shutdown(tpm: Tpm, type: 'clear' | 'state'): Promise<void> {
  const parameters = new Writer(2).u16(type === 'clear' ? 0 : 1).finish();
  (await tpm.execute({ name: 'TPM2_Shutdown', code: 0x145, parameters })).parameters.end('TPM2_Shutdown');
}
