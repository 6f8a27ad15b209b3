import type { HashName } from '@kallio/tpm/structures';
import { decodeContent } from './content.ts';
import { decodeEvent } from './decode.ts';
import { type EventLog, eventTypeName, type FirmwareEvent } from './event.ts';

/**
 * A kernel command line in the log. That `text` was measured to the event’s PCR is proved; that it is the kernel’s command
 * line, and not a boot loader’s command that reads alike, is the log’s word: hold the other texts of that PCR to reference
 * values too.
 */
export type CommandLine =
  /** GRUB (PCR 8, grub-core/loader) and systemd’s loader and stub (PCR 12, before version 251 PCR 8). */
  | { readonly event: number; readonly pcr: number; readonly by: 'grub' | 'systemd'; readonly text: string }
  /**
   * Linux’s own EFI stub (PCR 9, from kernel 6.0 on). The text is not in the log: ask `measuresText` whether it is the one
   * that is expected.
   */
  | { readonly event: number; readonly pcr: number; readonly by: 'linux' };

const GRUB_LABELS: ReadonlySet<string> = new Set(['kernel_cmdline', 'grub_kernel_cmdline']);
const GRUB_PCR = 8;
const SYSTEMD_PCRS: ReadonlySet<number> = new Set([8, 12]);
const LINUX_PCR = 9;

/** The kernel command lines that were measured, in order. What the log only describes is not among them. */
export function commandLines(log: EventLog, bank: HashName): CommandLine[] {
  return log.events.flatMap((event) => commandLineOf(event, bank) ?? []);
}

function commandLineOf(event: FirmwareEvent, bank: HashName): CommandLine | undefined {
  const { index, authenticated, unauthenticated } = event;
  const { pcr } = authenticated;
  const type = eventTypeName(unauthenticated.type);
  if (type === 'EV_EVENT_TAG' && pcr === LINUX_PCR) {
    const content = decodeContent(event);
    const isOptions = content.kind === 'tagged' && content.tag === 'linux-load-options';
    return isOptions ? { event: index, pcr, by: 'linux' } : undefined;
  }
  if (type !== 'EV_IPL' || (pcr !== GRUB_PCR && !SYSTEMD_PCRS.has(pcr))) return undefined;
  const decoded = decodeEvent(event, bank);
  if (decoded.proof === 'none') return undefined;
  const described = decoded.proof === 'all' ? decoded.measured : decoded.described;
  if (described.kind !== 'text') return undefined;
  const { label, text, encoding } = described;
  if (pcr === GRUB_PCR && label !== undefined && GRUB_LABELS.has(label))
    return { event: index, pcr, by: 'grub', text };
  // systemd writes the command line, and nothing else that it measures as it stands, in UTF-16.
  const isSystemd = SYSTEMD_PCRS.has(pcr) && label === undefined && encoding === 'utf-16';
  return isSystemd ? { event: index, pcr, by: 'systemd', text } : undefined;
}
