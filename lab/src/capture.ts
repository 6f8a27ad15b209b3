import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from './machine/machine.ts';

/** Reads the logs before the PCRs, each by a program that was measured before: nothing is measured in between. */
const SCRIPT = `
logs=/sys/kernel/security
read_all() {
  base64 -w 0 $logs/tpm0/binary_bios_measurements; echo
  base64 -w 0 $logs/ima/binary_runtime_measurements; echo
  cat /sys/class/tpm/tpm0/pcr-sha256/[0-9] /sys/class/tpm/tpm0/pcr-sha256/1[0-5]
}
read_all >/dev/null
read_all`;

/**
 * Takes a machine's evidence for tests: firmware event log, IMA log, and the PCRs that both lead to, with a word on how
 * it came to be.
 */
export async function capture(machine: Machine, folder: string): Promise<string[]> {
  const { image } = await machine.made();
  const [eventLog = '', ima = '', ...values] = (await machine.must(SCRIPT)).trim().split('\n');
  const pcrs = Object.fromEntries(values.map((value, pcr) => [String(pcr), value.toLowerCase()]));
  const made = [
    `# Evidence of a lab machine (${image.flavour} root)`,
    '',
    `Taken with \`npm run lab -- capture ${machine.name} FOLDER\` from a machine that \`npm run lab -- up --root ${image.flavour}\``,
    'had started: firmware OVMF, a software TPM, the stock kernel, the lab’s IMA policy, and the trust agent running.',
    '',
    `- kernel: ${image.release}`,
    `- command line: \`${image.commandLine} initrd=initrd\``,
    '- `eventlog.bin`: `/sys/kernel/security/tpm0/binary_bios_measurements`',
    '- `ima.bin`: `/sys/kernel/security/ima/binary_runtime_measurements`',
    '- `pcrs.json`: PCRs 0 to 15 of the SHA-256 bank, read right after the logs',
    '',
  ].join('\n');
  await mkdir(folder, { recursive: true });
  const files: [name: string, content: string | Buffer][] = [
    ['README.md', made],
    ['eventlog.bin', Buffer.from(eventLog, 'base64')],
    ['ima.bin', Buffer.from(ima, 'base64')],
    ['pcrs.json', `${JSON.stringify(pcrs, null, 2)}\n`],
  ];
  for (const [name, content] of files) await writeFile(join(folder, name), content);
  return files.map(([name]) => join(folder, name));
}
