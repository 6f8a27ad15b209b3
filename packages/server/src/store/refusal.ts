import { decodeShape, parseJson, type Refusal } from '@kallio/codec';
import { RefusalReply } from '@kallio/protocol';

/** A refusal as the store keeps it: JSON text. */
export function refusalFromText(json: string): Refusal {
  return decodeShape(RefusalReply, parseJson(json), 'STORE_CORRUPT', 'A stored reason');
}
