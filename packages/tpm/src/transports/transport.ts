/** A way to a TPM: command bytes in, response bytes out. One command at a time. */
export interface Transport {
  send(command: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The longest response any TPM gives. */
export const MAX_RESPONSE = 8192;
