import { printable, toHex } from '@kallio/codec';
import type { DecodedEvent, EventContent, SignatureList } from '@kallio/evidence';

/** What an event says, a line for what is measured and a line for what is only described. */
export function describeEvent(decoded: DecodedEvent): string[] {
  switch (decoded.proof) {
    case 'all':
      return [`measured   ${describeContent(decoded.measured)}`];
    case 'part':
      return [
        `measured   ${describePart(decoded.measured)}`,
        `described  ${describeContent(decoded.described)}`,
      ];
    case 'none':
      return [`described  ${describeContent(decoded.described)}`];
  }
}

function describePart(part: Extract<DecodedEvent, { proof: 'part' }>['measured']): string {
  switch (part.part) {
    case 'text':
      return `the text alone: ${quoted(part.text)}`;
    case 'variable':
      return `the variable ${printable(part.name)} without padding, ${part.data.length} bytes`;
    case 'variable-content':
      return `the content alone, not the name: ${bytes(part.data)}`;
  }
}

function describeContent(content: EventContent): string {
  switch (content.kind) {
    case 'variable':
      return `variable ${printable(content.name)} (${content.vendor}): ${describeValue(content)}`;
    case 'image':
      return `image of ${content.length} bytes${content.path === '' ? '' : ` from ${printable(content.path)}`}`;
    case 'partitions':
      return `disk ${content.disk}: ${content.partitions.map(({ name, id }) => `${quoted(name)} ${id}`).join(', ') || 'no partitions'}`;
    case 'firmware-blob':
      return `${named(content.description)}${content.length} bytes at 0x${content.base.toString(16)}`;
    case 'handoff-tables':
      return `${named(content.description)}tables ${content.tables.map(({ guid }) => guid).join(', ')}`;
    case 'tagged':
      return `${content.tag}: ${content.text === undefined ? bytes(content.data) : quoted(content.text)}`;
    case 'text':
      return `${content.label === undefined ? '' : `${content.label}: `}${quoted(content.text)}`;
    case 'version':
      return `version ${quoted(content.version)}`;
    case 'separator':
      return content.error ? 'separator: measuring FAILED' : 'separator';
    case 'unknown':
      return 'data of a kind that is not known here';
  }
}

function describeValue({ value, data }: Extract<EventContent, { kind: 'variable' }>): string {
  switch (value.is) {
    case 'flag':
      return value.set ? 'on' : 'off';
    case 'signature-lists':
      return value.lists.map(describeList).join(', ') || 'empty';
    case 'signature':
      return `entry of ${value.signature.owner}, ${value.signature.data.length} bytes`;
    case 'boot-order':
      return value.order.join(', ') || 'empty';
    case 'boot-option':
      return `${quoted(value.option.description)}${value.option.active ? '' : ' (not active)'} ${printable(value.option.paths[0] ?? '')}`;
    case 'bytes':
      return bytes(data);
  }
}

function describeList({ type, signatures }: SignatureList): string {
  return `${signatures.length} ${type}`;
}

function named(description: string | undefined): string {
  return description === undefined ? '' : `${quoted(description)} `;
}

function quoted(text: string): string {
  return `“${printable(text)}”`;
}

/** Bytes, the first 32 of them. */
function bytes(data: Uint8Array): string {
  const shown = toHex(data.subarray(0, 32));
  return data.length <= 32 ? shown || 'no bytes' : `${shown}… (${data.length} bytes)`;
}
