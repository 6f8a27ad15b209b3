import { canonicalBytes, canonicalDigest, digestOf, fromUtf8, sha256, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  authenticateQuote,
  type EvidenceMessage,
  type Inventory,
  partsOf,
  quotedPcrs,
  writeMessage,
} from '../src/index.ts';
import { honestMessage } from './support/message.ts';
import { SoftwareAk } from './support/software-ak.ts';

// What an AK has shown before is not written anew. Whatever that was, a message must be written as it is by itself.

const PCRS = [0, 7];
const NONCE = sha256(utf8('a question'));

/** The PCR values that an AK of this test may quote: few, so that many messages in a row show the same. */
const VALUES = [1, 2].map((byte) => new Uint8Array(32).fill(byte));
const SHOWN = fc.constantFrom(...VALUES);
const OFFERED = SHOWN.map(toHex);

const message: fc.Arbitrary<EvidenceMessage> = fc
  .record({
    pcr0: OFFERED,
    pcr7: OFFERED,
    more: fc.constantFrom<Readonly<Record<string, string>>>({}, { 1: toHex(VALUES[0] ?? NONCE) }),
    banks: fc.constantFrom(1, 1, 1, 2),
    scope: fc.constantFrom('machine', 'a"quote', '\u{1f600}'),
    from: fc.constantFrom(0, 4),
    unchanged: fc.boolean(),
    logs: fc.boolean(),
  })
  .map(({ pcr0, pcr7, more, banks, scope, from, unchanged, logs }) => {
    const { eventLog: _, ima: __, ...honest } = honestMessage();
    const inventory: Inventory = { scope, containers: [], changed: [] };
    return {
      ...(logs ? honestMessage() : honest),
      pcrs: Array.from({ length: banks }, () => ({
        bank: 'sha256' as const,
        values: { 0: pcr0, 7: pcr7, ...more },
      })),
      instanceLog: { from, entries: logs ? honest.instanceLog.entries : [] },
      inventory: unchanged ? { unchanged: canonicalDigest(inventory) } : inventory,
    };
  });

describe('a message that is written', () => {
  const ak = new SoftwareAk('ecdsa');

  test('is its canonical JSON, whatever its AK quoted and showed before', () => {
    fc.assert(
      fc.property(SHOWN, SHOWN, fc.array(message, { minLength: 2, maxLength: 6 }), (a, b, messages) => {
        quoteOf([a, b]);
        for (const one of messages) {
          const { bytes, digests } = writeMessage(one, ak.public);
          expect(fromUtf8(bytes)).toBe(fromUtf8(canonicalBytes(one)));
          expect(partsOf(one, digests)).toEqual(partsOf(one));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('has the bytes of each of its PCR values, when one of them is another than was quoted', () => {
    quoteOf(VALUES);
    const honest = shown(VALUES);
    expect(digestOf(writeMessage(honest, ak.public).bytes)).toBe(canonicalDigest(honest));
    // Stops evidence from being kept under values that its quote never covered.
    const forged = shown(VALUES.toReversed());
    const { bytes } = writeMessage(forged, ak.public);
    expect(digestOf(bytes)).toBe(canonicalDigest(forged));
    expect(digestOf(bytes)).not.toBe(canonicalDigest(honest));
  });

  test('keeps a field beside its PCR values that nobody has quoted', () => {
    quoteOf(VALUES);
    const [bank] = shown(VALUES).pcrs;
    const more = { ...shown(VALUES), pcrs: [{ ...bank, more: true }] } as unknown as EvidenceMessage;
    expect(fromUtf8(writeMessage(more, ak.public).bytes)).toBe(fromUtf8(canonicalBytes(more)));
  });

  /** A message that shows these values. */
  function shown(values: readonly Uint8Array[]): EvidenceMessage {
    const [pcr0 = NONCE, pcr7 = NONCE] = values;
    return { ...honestMessage(), pcrs: [{ bank: 'sha256', values: { 0: toHex(pcr0), 7: toHex(pcr7) } }] };
  }

  /** Has the AK quote these values, and a verifier take them. */
  function quoteOf(values: readonly Uint8Array[]): void {
    const quote = ak.quote({ extraData: NONCE, select: [{ bank: 'sha256', pcrs: PCRS }], values });
    const authentic = authenticateQuote(quote, { akPublic: ak.public, qualifyingData: NONCE });
    const verified = quotedPcrs(authentic, shown(values).pcrs, { bank: 'sha256', pcrs: PCRS });
    expect([...verified.pcrs.values()].map(toHex)).toEqual(values.map(toHex));
  }
});
