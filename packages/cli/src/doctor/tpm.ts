import { existsSync } from 'node:fs';
import { KallioError } from '@kallio/codec';
import { EK_PROFILES, getRandom, nvReadPublic, openTransport, readClock, readPcrs, Tpm } from '@kallio/tpm';
import type { Finding } from './finding.ts';

/** Long enough for a chip in its self-test (10 s), short enough for a person who waits. */
const TIMEOUT_MS = 15_000;

/** Asks the TPM what it can do. Nothing in it is changed. One that does not answer is given up after `timeoutMs`. */
export async function examineTpm(
  address: string | undefined,
  timeoutMs = TIMEOUT_MS,
): Promise<{ usable: boolean; findings: Finding[] }> {
  const target = address ?? (existsSync('/dev/tpmrm0') ? 'device:/dev/tpmrm0' : undefined);
  if (target === undefined) {
    const hint = 'Switch the TPM (fTPM, PTT) on in the firmware set-up, or name one with --tpm.';
    return { usable: false, findings: [{ what: 'TPM', ok: false, detail: 'no /dev/tpmrm0', hint }] };
  }
  const findings: Finding[] = [];
  let tpm: Tpm | undefined;
  try {
    tpm = new Tpm(openTransport(target, timeoutMs));
    const started = performance.now();
    await getRandom(tpm, 16);
    const ms = Math.round(performance.now() - started);
    findings.push({ what: 'TPM', ok: true, detail: `answers at ${target} in ${ms} ms` });
    const { resetCount, restartCount, safe } = await readClock(tpm);
    findings.push({
      what: 'TPM boot',
      ok: true,
      detail: `resetCount ${resetCount}, restartCount ${restartCount}, clock ${safe ? 'safe' : 'not safe'}`,
    });
    const certificates = [];
    for (const { kind, certificate } of EK_PROFILES) {
      if ((await nvReadPublic(tpm, certificate)) !== undefined) certificates.push(kind);
    }
    const hasCertificate = certificates.length > 0;
    findings.push({
      what: 'EK certificate',
      ok: hasCertificate,
      detail: hasCertificate ? certificates.join(', ') : 'none in NV',
      hint: 'Without one nobody can tell this TPM from a made-up one. Some makers publish it: give it to the agent as endorsement.certificate.',
    });
    const pcrs = await readPcrs(tpm, 'sha256', [0, 7, 14]);
    findings.push({
      what: 'SHA-256 PCR bank',
      ok: pcrs.size === 3,
      detail: pcrs.size === 3 ? 'allocated' : 'not allocated',
      hint: 'Allocate it: tpm2_pcrallocate sha256:all, then reboot.',
    });
    const measured = (pcrs.get(0) ?? new Uint8Array(32)).some((byte) => byte !== 0);
    findings.push({
      what: 'firmware measurement',
      ok: measured,
      detail: measured ? 'PCR 0 is extended' : 'PCR 0 is zero: no firmware measures to this TPM',
      hint: 'Expected of a software TPM without firmware; on a real machine, switch measured boot on.',
    });
    return { usable: hasCertificate && pcrs.size === 3, findings };
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    findings.push({
      what: 'TPM',
      ok: false,
      detail: `${error.code}: ${error.message}`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return { usable: false, findings };
  } finally {
    await tpm?.close();
  }
}
