import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';

/** A way to a TPM: command bytes in, response bytes out. One command at a time. */
export interface Transport {
  send(command: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The longest response any TPM gives. */
export const MAX_RESPONSE = 8192;

/** The refusal of a TPM that says nothing for so long. */
export function stall(ms: number): KallioError<TpmCode> {
  return new KallioError('TPM_STALLED', `The TPM did not answer within ${ms / 1000} s.`, {
    hint: 'A TPM may stall for 10 s in a self-test; one that stalls longer needs a restart of the machine (a software TPM: of its process).',
  });
}
