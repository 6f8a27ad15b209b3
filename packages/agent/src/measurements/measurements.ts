import { type Digest, digestOf, toBase64 } from '@kallio/codec';
import type { AgentConfig, MeasurementPaths } from '../config.ts';
import { readIfThere } from '../files.ts';
import { ImaLog } from './ima-log.ts';

const KERNEL: MeasurementPaths = {
  firmware: '/sys/kernel/security/tpm0/binary_bios_measurements',
  ima: '/sys/kernel/security/ima/binary_runtime_measurements',
  imaCount: '/sys/kernel/security/ima/runtime_measurements_count',
};

/** The firmware's event log. */
export interface FirmwareLog {
  /** Base64. */
  readonly text: string;
  readonly digest: Digest;
}

/** What firmware and kernel have measured in this boot, as the kernel shows it. */
export class Measurements {
  readonly ima: ImaLog;
  readonly #firmwarePath: string;
  #firmware: Promise<FirmwareLog | undefined> | undefined;

  constructor(paths: MeasurementPaths) {
    this.ima = new ImaLog(paths.ima, paths.imaCount);
    this.#firmwarePath = paths.firmware;
  }

  /** The firmware's event log: it is closed before the kernel starts, so it is read once. */
  firmware(): Promise<FirmwareLog | undefined> {
    this.#firmware ??= readIfThere(this.#firmwarePath).then((bytes) =>
      bytes === undefined ? undefined : { text: toBase64(bytes), digest: digestOf(bytes) },
    );
    return this.#firmware;
  }
}

/** Where this machine's measurements are; none where it has another TPM than firmware and kernel measure to. */
export function measurementsOf({ measurements = 'auto' }: AgentConfig): Measurements | undefined {
  if (measurements === 'none') return undefined;
  return new Measurements(measurements === 'auto' ? KERNEL : measurements);
}
