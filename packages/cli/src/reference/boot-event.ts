import type { BootClass } from '@kallio/appraisal';
import { decodeEvent, type EventContent, eventTypeName, type FirmwareEvent } from '@kallio/evidence';

/** What an event measured, in words. The log says so; only PCR and digest are proved. */
export interface DescribedEvent {
  readonly class: BootClass;
  readonly description: string;
}

/** By PCR, where the event itself does not say more (TCG PC Client Platform Firmware Profile 1.06, table 1). */
const CLASS_OF_PCR: readonly BootClass[] = [
  'firmware',
  'firmware-configuration',
  'firmware',
  'firmware-configuration',
  'boot-loader',
  'boot-configuration',
  'other',
  'secure-boot',
  'boot-configuration',
  'kernel',
];

/** Describes an event of PCRs 0 to 9. Data that can’t be decoded is described by its type alone. */
export function describeEvent(event: FirmwareEvent): DescribedEvent {
  const type = eventTypeName(event.unauthenticated.type);
  const content = contentOf(event);
  const { pcr } = event.authenticated;
  const detail = content === undefined ? undefined : detailOf(content);
  return {
    class: classOf(pcr, type, content),
    description: printable(detail === undefined ? type : `${type} ${detail}`),
  };
}

function contentOf(event: FirmwareEvent): EventContent | undefined {
  const decoded = decodeEvent(event, 'sha256');
  return decoded.proof === 'all' ? decoded.measured : decoded.described;
}

function classOf(pcr: number, type: string, content: EventContent | undefined): BootClass {
  if (type === 'EV_EFI_ACTION' || type === 'EV_ACTION') return 'action';
  if (content?.kind === 'tagged' && content.tag === 'linux-load-options') return 'command-line';
  if (content?.kind === 'tagged' && content.tag === 'linux-initrd') return 'initrd';
  if (content?.kind === 'text' && /kernel_cmdline$/.test(content.label ?? '')) return 'command-line';
  if (pcr === 9 && content?.kind === 'text' && /init(?:rd|ramfs)/.test(content.text)) return 'initrd';
  return CLASS_OF_PCR[pcr] ?? 'other';
}

function detailOf(content: EventContent): string | undefined {
  switch (content.kind) {
    case 'variable':
      return content.name;
    case 'text':
      return content.label === undefined ? content.text : `${content.label}: ${content.text}`;
    case 'version':
      return content.version;
    case 'tagged':
      return content.text ?? content.tag;
    default:
      return undefined;
  }
}

/** Names come from the log: nothing that moves a cursor or ends a line. */
function printable(text: string): string {
  return text
    .replaceAll(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, '?')
    .slice(0, 100)
    .toWellFormed();
}
