import { createHash, createHmac } from 'node:crypto';
import { concat, utf8, Writer } from '@kallio/codec';
import type { HashName } from '../structures/algorithms.ts';

/** KDFa: SP 800-108 in counter mode with HMAC (Part 1 section 11.4.10.2). Bits over a whole byte are zero, on the left. */
export function kdfa(
  hash: HashName,
  key: Uint8Array,
  label: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  bits: number,
): Uint8Array {
  return expand(bits, (counter) =>
    createHmac(hash, key)
      .update(new Writer(4).u32(counter).finish())
      .update(labelled(label))
      .update(contextU)
      .update(contextV)
      .update(new Writer(4).u32(bits).finish())
      .digest(),
  );
}

/** KDFe: SP 800-56A concatenation KDF (Part 1 section 11.4.10.3). `z` is the x coordinate of the shared point. */
export function kdfe(
  hash: HashName,
  z: Uint8Array,
  label: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  bits: number,
): Uint8Array {
  return expand(bits, (counter) =>
    createHash(hash)
      .update(new Writer(4).u32(counter).finish())
      .update(z)
      .update(labelled(label))
      .update(partyU)
      .update(partyV)
      .digest(),
  );
}

/** The label with the zero octet that ends it. */
function labelled(label: string): Uint8Array {
  return concat(utf8(label), new Uint8Array(1));
}

function expand(bits: number, block: (counter: number) => Uint8Array): Uint8Array {
  const bytes = Math.ceil(bits / 8);
  const blocks: Uint8Array[] = [];
  for (let length = 0, counter = 1; length < bytes; counter++) {
    const next = block(counter);
    blocks.push(next);
    length += next.length;
  }
  const out = concat(...blocks).slice(0, bytes);
  const over = bytes * 8 - bits;
  if (over > 0) out[0] = (out[0] ?? 0) & (0xff >> over);
  return out;
}
