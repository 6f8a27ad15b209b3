import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import { DeviceTransport } from './device.ts';
import { BARE, MSSIM, StreamTransport } from './stream.ts';
import type { Transport } from './transport.ts';

/** Longest wait for one response: a self-test may stall a chip for 10 s, key generation longer. */
const TIMEOUT_MS = 60_000;

/**
 * The transport of an address: `device:/dev/tpmrm0`, `swtpm:HOST:PORT`, `swtpm:unix:/path`, `mssim:HOST:PORT`.
 * Nothing is connected before the first command.
 */
export function openTransport(address: string, timeoutMs = TIMEOUT_MS): Transport {
  const device = /^device:(\/.+)$/.exec(address)?.[1];
  if (device !== undefined) return new DeviceTransport(device, timeoutMs);
  const unix = /^swtpm:unix:(\/.+)$/.exec(address)?.[1];
  if (unix !== undefined) return new StreamTransport({ path: unix }, BARE, timeoutMs);
  const tcp = /^(swtpm|mssim):([^:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})$/.exec(address);
  const port = Number(tcp?.[3]);
  if (tcp?.[2] !== undefined && port > 0 && port < 65_536) {
    const host = tcp[2].replace(/^\[|\]$/g, '');
    return new StreamTransport({ host, port }, tcp[1] === 'swtpm' ? BARE : MSSIM, timeoutMs);
  }
  throw new KallioError<TpmCode>('TPM_ADDRESS', 'This is no address of a TPM.', {
    hint: 'Use device:/dev/tpmrm0, swtpm:unix:/path, swtpm:HOST:PORT or mssim:HOST:PORT.',
  });
}
