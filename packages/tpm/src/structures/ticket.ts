import type { Reader, Writer } from '@kallio/codec';
import { copySized, writeSized } from './sized.ts';

/** A proof by a TPM to itself that it did something before: TPMT_TK_… (Part 2 sections 10.7.3 to 10.7.6). */
export interface Ticket {
  readonly tag: number;
  readonly hierarchy: number;
  readonly digest: Uint8Array;
}

/** Reads a ticket. */
export function readTicket(reader: Reader): Ticket {
  return {
    tag: reader.u16('The ticket’s tag'),
    hierarchy: reader.u32('The ticket’s hierarchy'),
    digest: copySized(reader, 64, 'The ticket’s digest'),
  };
}

/** Writes a ticket. */
export function writeTicket(writer: Writer, ticket: Ticket): Writer {
  return writeSized(writer.u16(ticket.tag).u32(ticket.hierarchy), ticket.digest);
}
