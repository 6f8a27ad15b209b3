import { asciiText, utf16Text } from './text.ts';

/** Text in an event: a command, a file’s name, a variable’s name, a command line. */
export interface BootText {
  /** What the boot loader wrote in front: `grub_cmd`, `kernel_cmdline`, …. Never part of what is measured. */
  readonly label?: string;
  readonly text: string;
  readonly encoding: 'utf-8' | 'utf-16';
}

/** GRUB’s labels; Red Hat’s of old have no colon. */
const LABEL = /^((?:grub_)?(?:cmd|kernel_cmdline|module_cmdline|linuxefi)):? /;

/**
 * Text of EV_IPL and EV_ACTION events: GRUB writes ASCII with a label (grub-core/commands/tpm.c), shim the name of what it
 * measured (MokList), systemd UTF-16 (src/boot/measure.c). `undefined` for bytes that are no text.
 */
export function readBootText(bytes: Uint8Array): BootText | undefined {
  const wide = utf16Text(bytes);
  const encoding = wide === undefined ? 'utf-8' : 'utf-16';
  const whole = wide ?? asciiText(bytes);
  if (whole === undefined) return undefined;
  const [front = '', label] = LABEL.exec(whole) ?? [];
  const text = whole.slice(front.length);
  return label === undefined ? { text, encoding } : { label, text, encoding };
}
