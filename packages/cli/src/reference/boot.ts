import { hash } from 'node:crypto';
import { basename } from 'node:path';
import type { BootClass, BootValue, Reference } from '@kallio/appraisal';
import { authenticodeDigest } from './authenticode.ts';
import type { ReferenceFile } from './fragment.ts';

/** Who hands over to the kernel, and so who measures it: Linux’s own EFI stub, or GRUB. */
export type StartedBy = 'efi-stub' | 'grub';

/** A file of the boot. */
export interface BootFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What a boot consists of. */
export interface BootParts {
  readonly by: StartedBy;
  /** EFI images that firmware starts before the kernel: shim, GRUB, systemd-boot. */
  readonly loaders: readonly BootFile[];
  readonly kernels: readonly BootFile[];
  readonly initrds: readonly BootFile[];
  /** As the kernel, or GRUB, is given them, to the letter. */
  readonly commandLines: readonly string[];
}

type Boot = NonNullable<Reference['boot']>[number];

/** What firmware measures to PCR 4 before it tries to boot (TCG PC Client Platform Firmware Profile 1.06, section 10.4.5). */
const CALLING = 'Calling EFI Application from Boot Option';

/**
 * The measurements that a boot will make of these files and command lines: of EFI images their Authenticode digest
 * (PCR 4); by the EFI stub (drivers/firmware/efi/libstub) the initial RAM disk and the command line as UTF-16 (PCR 9);
 * by GRUB (grub-core/commands/tpm.c) the files that it reads (PCR 9) and the command line with its kernel’s path (PCR 8).
 */
export function bootReferences({ by, loaders, kernels, initrds, commandLines }: BootParts): ReferenceFile {
  const images = (files: readonly BootFile[]) =>
    files.map(({ path, bytes }) => ({ name: nameOf(path), digest: authenticodeDigest(bytes) }));
  const contents = (files: readonly BootFile[]) =>
    files.map(({ path, bytes }) => ({ name: nameOf(path), digest: hash('sha256', bytes, 'hex') }));
  const encoding = by === 'grub' ? ('utf-8' as const) : ('utf-16le-nul' as const);
  const texts = commandLines.map((text) => ({ name: text.slice(0, 120) || 'empty', text, encoding }));
  const boot = [
    reference(4, 'action', [{ name: 'boot attempt', text: CALLING, encoding: 'utf-8' }], false),
    reference(4, 'boot-loader', images(loaders)),
    reference(4, 'kernel', images(kernels)),
    ...(by === 'grub' ? [reference(9, 'kernel', contents(kernels))] : []),
    reference(9, 'initrd', contents(initrds)),
    reference(by === 'grub' ? 8 : 9, 'command-line', texts),
  ].filter(({ values }) => values.length > 0);
  return {
    references: 'kallio-references-v1',
    sources: [
      {
        kind: 'boot',
        name:
          [...loaders, ...kernels, ...initrds]
            .map(({ path }) => path)
            .join(' ')
            .slice(0, 4096) || by,
      },
    ],
    reference: { boot },
    limits: by === 'grub' ? [...LIMITS, ...GRUB_LIMITS] : LIMITS,
  };
}

const LIMITS = [
  'Firmware (PCR 0 to 3), boot variables (PCR 1), partition tables (PCR 5) and secure boot (PCR 7) are not in files: learn them from an attester.',
  'In a PCR that is named every event must be known: what else is started on the way, an option ROM’s driver for one, has to be added.',
  'The command line is what is handed over, to the letter: loaders add to it (OVMF adds “initrd=initrd”).',
  'QEMU before version 10 changes the header of a kernel that it is given with -kernel, by the size of memory and initial RAM disk: the digest in PCR 4 is of the changed one; learn it.',
  'What systemd-stub measures of its parts (PCR 11) is not worked out; of a unified kernel image the digest in PCR 4 covers all of them.',
];
const GRUB_LIMITS = [
  'GRUB measures each of its commands (PCR 8) and every file that it reads, its configuration and modules too (PCR 9): learn them from an attester.',
];

function reference(pcr: number, name: BootClass, values: BootValue[], required = true): Boot {
  return { pcr, class: name, values, ...(required ? { required: true as const } : {}) };
}

function nameOf(path: string): string {
  return basename(path).slice(0, 128) || 'file';
}
