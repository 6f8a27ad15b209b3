import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KallioError } from '@kallio/codec';
import { EK_PROFILES, getRandom, nvReadPublic, openTransport, readClock, readPcrs, Tpm } from '@kallio/tpm';
import { type Finding, finding, optionalFinding } from './finding.ts';

/** What became of the TPM: `silent` does not answer as a TPM, `unfit` answers but lacks what attesting needs. */
export type TpmState = 'absent' | 'silent' | 'unfit' | 'fit';

/** What was found of the TPM. */
export interface TpmExamination {
  readonly state: TpmState;
  /** Does firmware measure to it? */
  readonly measured: boolean;
  readonly findings: readonly Finding[];
}

/** How the TPM is looked for and asked. */
export interface Examining {
  /** Long enough for a chip in its self-test (10 s), short enough for a person who waits. */
  readonly timeoutMs?: number;
  /** Called once when the first answer takes longer than a second. */
  readonly slow?: (text: string) => void;
  /** Where devices are. */
  readonly dev?: string;
}

const TIMEOUT_MS = 15_000;

/**
 * Asks the TPM what it can do. Nothing in it is changed. One that does not answer is given up after `timeoutMs`.
 * `TPM_ADDRESS` where the address is none.
 */
export async function examineTpm(address: string | undefined, how: Examining = {}): Promise<TpmExamination> {
  const { timeoutMs = TIMEOUT_MS, dev = '/dev' } = how;
  const managed = join(dev, 'tpmrm0');
  const target = address ?? (existsSync(managed) ? `device:${managed}` : undefined);
  if (target === undefined) return { state: 'absent', measured: false, findings: [noTpm(dev)] };
  const tpm = new Tpm(openTransport(target, timeoutMs));
  const waiting = setTimeout(
    () =>
      how.slow?.(
        `The TPM has not answered yet: its self-test may take 10 s. It is given up after ${timeoutMs / 1000} s.`,
      ),
    1000,
  );
  const findings: Finding[] = [];
  try {
    findings.push(await answers(tpm, target));
    clearTimeout(waiting);
    findings.push(await boot(tpm));
    const certificate = await ekCertificate(tpm);
    const pcrs = await readPcrs(tpm, 'sha256', [0, 7, 14]);
    const bank = finding(
      'SHA-256 PCR bank',
      pcrs.size === 3,
      pcrs.size === 3 ? 'allocated' : 'not allocated',
      'Allocate it: tpm2_pcrallocate sha256:all, then reboot.',
    );
    const measured = (pcrs.get(0) ?? new Uint8Array(32)).some((byte) => byte !== 0);
    const firmware = optionalFinding(
      'firmware measurement',
      measured,
      measured ? 'PCR 0 is extended' : 'PCR 0 is zero: no firmware measures to this TPM',
      'Expected of a software TPM without firmware; on a real machine, switch measured boot on.',
    );
    findings.push(certificate, bank, firmware);
    return { state: certificate.ok && bank.ok ? 'fit' : 'unfit', measured, findings };
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    findings.push(finding('TPM', false, `${error.code}: ${error.message}`, error.hint));
    return { state: findings.length > 1 ? 'unfit' : 'silent', measured: false, findings };
  } finally {
    clearTimeout(waiting);
    await tpm.close();
  }
}

function noTpm(dev: string): Finding {
  return existsSync(join(dev, 'tpm0'))
    ? finding(
        'TPM',
        false,
        `${dev}/tpm0 without ${dev}/tpmrm0: a TPM 1.2, or an old kernel`,
        'Where /sys/class/tpm/tpm0/tpm_version_major says 2, name it: --tpm device:/dev/tpm0. A TPM 1.2 can’t attest.',
      )
    : finding(
        'TPM',
        false,
        `no ${dev}/tpmrm0`,
        'Switch the TPM (fTPM, PTT) on in the firmware set-up, or name one with --tpm.',
      );
}

async function answers(tpm: Tpm, target: string): Promise<Finding> {
  const started = performance.now();
  await getRandom(tpm, 16);
  return finding('TPM', true, `answers at ${target} in ${Math.round(performance.now() - started)} ms`);
}

async function boot(tpm: Tpm): Promise<Finding> {
  const { resetCount, restartCount, safe } = await readClock(tpm);
  const clock = safe ? 'clock safe' : 'clock may have gone back: the power was cut';
  return finding('TPM boot', true, `resets ${resetCount}, restarts ${restartCount}, ${clock}`);
}

async function ekCertificate(tpm: Tpm): Promise<Finding> {
  const kinds = [];
  for (const { kind, certificate } of EK_PROFILES) {
    if ((await nvReadPublic(tpm, certificate)) !== undefined) kinds.push(kind);
  }
  const there = kinds.length > 0;
  return finding(
    'EK certificate',
    there,
    there ? kinds.join(', ') : 'none in NV',
    'Without one nobody can tell this TPM from a made-up one. Some makers publish it: give it to the agent as endorsement.certificate.',
  );
}
