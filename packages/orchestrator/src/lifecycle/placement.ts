import { type Digest, type KallioError, parseDigest } from '@kallio/codec';
import type { AttesterSummary } from '@kallio/protocol';
import { orchestratorError } from '../error.ts';

/** A device that may be given an instance, and the evidence that says so. */
export interface Placed {
  readonly attester: string;
  /** resetCount of the boot that was attested. */
  readonly boot: number;
  /** Digest of the result. */
  readonly result: Digest;
}

/**
 * Picks a device: verified now, reachable now, among `hosts` where some are named; the least loaded, then by name.
 * Pure. Answers why there is none.
 */
export function place(
  devices: readonly AttesterSummary[],
  connected: (attester: string) => boolean,
  load: ReadonlyMap<string, number>,
  hosts: readonly string[],
): Placed | KallioError {
  const wanted = devices.filter(({ attester }) => hosts.length === 0 || hosts.includes(attester));
  const [best] = wanted
    .filter((device) => whyNot(device, connected) === undefined)
    .sort(
      (a, b) =>
        (load.get(a.attester) ?? 0) - (load.get(b.attester) ?? 0) || (a.attester < b.attester ? -1 : 1),
    );
  if (best?.result !== undefined && best.boot !== undefined) {
    return { attester: best.attester, boot: best.boot, result: parseDigest(best.result) };
  }
  const reasons = [
    ...wanted.map((device) => `${device.attester} ${whyNot(device, connected) ?? 'is not admitted'}`),
    ...hosts
      .filter((host) => !wanted.some(({ attester }) => attester === host))
      .map((host) => `${host} is no admitted device`),
  ];
  return orchestratorError(
    'NO_VERIFIED_DEVICE',
    reasons.length === 0
      ? 'No device is admitted.'
      : `No device can be given this instance: ${reasons.slice(0, 8).join('; ')}.`,
    { hint: 'kallio attesters list says how each device stands, and why.' },
  );
}

function whyNot(device: AttesterSummary, connected: (attester: string) => boolean): string | undefined {
  // Stops an instance from being put where nobody knows what is running.
  if (device.state !== 'VERIFIED' || device.result === undefined || device.boot === undefined) {
    const [reason] = device.reasons;
    return `is ${device.state}${reason === undefined ? '' : ` (${reason.code})`}`;
  }
  return connected(device.attester) ? undefined : 'is not connected';
}
