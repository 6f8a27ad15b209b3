import { canonicalize, KallioError } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { evidenceSubmit } from '@kallio/protocol';
import { readBody } from '@kallio/protocol/serve';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MessageReader, writtenForm } from '../src/attestation/message-reader.ts';

const NONCES = ['0a', 'b1', '2c'].map((byte) => byte.repeat(32));
const QUOTE = { attest: '/1RDR4AYACIAC7Vt', signature: 'ABgACwAgvqDMqE9z' };
const MESSAGE: EvidenceMessage = {
  version: 'kallio-evidence-v1',
  purpose: 'attest',
  attester: 'device-1',
  nonce: NONCES[0] ?? '',
  quote: QUOTE,
  pcrs: [{ bank: 'sha256', values: { 0: '11'.repeat(32), 14: '22'.repeat(32) } }],
  instanceLog: { from: 4, entries: [] },
  inventory: { unchanged: `sha256:${'57'.repeat(32)}` },
};

/** Reads, and counts what had to be parsed. */
function reader(most = 8) {
  const count = { parsed: 0 };
  const parse = (bytes: Uint8Array) => {
    count.parsed++;
    return readBody(evidenceSubmit.body, bytes);
  };
  return { count, one: new MessageReader(parse, most) };
}

const bytesOf = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const fresh = (nonce: number, more: Partial<EvidenceMessage> = {}): EvidenceMessage => ({
  ...MESSAGE,
  nonce: NONCES[nonce] ?? '',
  quote: { attest: `/1RDR4AYACIAC7V${nonce}`, signature: `ABgACwAgvqDMqE9${nonce}` },
  ...more,
});

/** What a reader comes to, or the code and pointer of its refusal. */
function outcome(read: () => EvidenceMessage): unknown {
  try {
    const message = read();
    const text = canonicalize(message);
    // Where it came with reading it, it is the same.
    expect(writtenForm(message) ?? text).toBe(text);
    return text;
  } catch (error) {
    if (error instanceof KallioError) return { code: error.code, pointer: error.pointer };
    throw error;
  }
}

describe('a message that differs from the one before in nonce and quote', () => {
  it('is read without being parsed, and shares the rest with it', () => {
    const { one, count } = reader();
    const first = one.read('device-1', bytesOf(MESSAGE));
    const second = one.read('device-1', bytesOf(fresh(1)));
    expect(second).toEqual(fresh(1));
    expect(second.pcrs).toBe(first.pcrs);
    expect(writtenForm(second)).toBe(canonicalize(fresh(1)));
    expect(one.read('device-1', bytesOf(fresh(2)))).toEqual(fresh(2));
    expect(count.parsed).toBe(1);
  });

  it('is parsed where it is of another attester, or that attester was forgotten', () => {
    const { one, count } = reader(1);
    one.read('device-1', bytesOf(MESSAGE));
    one.read('device-2', bytesOf(fresh(1)));
    one.read('device-1', bytesOf(fresh(2)));
    expect(count.parsed).toBe(3);
  });

  it('does not change with the bytes that it was read from', () => {
    const { one } = reader();
    const bytes = bytesOf(MESSAGE);
    one.read('device-1', bytes);
    // Whoever receives into one buffer writes the next message over the last.
    bytes.write('33', bytes.indexOf('2222'));
    expect(one.read('device-1', bytes).pcrs[0]?.values['14']).toBe(`33${'22'.repeat(31)}`);
    expect(one.read('device-1', bytesOf(fresh(1)))).toEqual(fresh(1));
  });
});

describe('any other message', () => {
  const text = JSON.stringify(fresh(1));
  // Each as long as an honest one, so that nothing but its bytes tells it apart.
  it.each([
    ['a PCR value', text.replace('22'.repeat(32), '23'.repeat(32)), 'taken'],
    ['another attester', text.replace('device-1', 'device-2'), 'taken'],
    [
      'another purpose of the same length',
      text.replace('"attest","attester"', '"attesT","attester"'),
      'refused',
    ],
    ['a nonce that is not hexadecimal', text.replace('b1b1', 'B1b1'), 'refused'],
    ['a quotation mark that ends the nonce', text.replace('b1b1b1b1', 'b1","x":'), 'refused'],
    ['an escape in the quote', text.replace('/1RDR4AYACIAC7V1', '\\/1RDR4AYACIAC7'), 'taken'],
    ['a byte that is no UTF-8', Buffer.from(text.replace('/1RD', '\u00ff1RD'), 'latin1'), 'refused'],
    ['base64 with padding within', text.replace('/1RDR4AY', '/1RD==AY'), 'refused'],
    ['a member twice', text.replace('"bank":"sha256"', '"bank":"sha25","bank":"sha256"'), 'refused'],
    ['a byte more at the end', `${text}x`, 'refused'],
    ['nothing at all', '', 'refused'],
  ])('is parsed: %s', (_, other, is) => {
    const { one, count } = reader();
    one.read('device-1', bytesOf(MESSAGE));
    const bytes = typeof other === 'string' ? Buffer.from(other) : other;
    const came = outcome(() => one.read('device-1', bytes));
    expect(came).toEqual(outcome(() => readBody(evidenceSubmit.body, bytes)));
    expect(typeof came === 'string').toBe(is === 'taken');
    expect(count.parsed).toBe(2);
    // The same without the attack.
    expect(one.read('device-1', bytesOf(fresh(1)))).toEqual(fresh(1));
  });

  it('with the nonce in a second place is never taken for a pattern of the next', () => {
    // Attack: text that looks like the nonce, elsewhere, so that another part of the next message is read from the wrong place.
    for (const scope of [`${NONCES[0]}`, `x"${NONCES[0]}`]) {
      const { one, count } = reader();
      const inventory = { scope, containers: [], changed: [] };
      one.read('device-1', bytesOf(fresh(0, { inventory })));
      expect(one.read('device-1', bytesOf(fresh(1, { inventory })))).toEqual(fresh(1, { inventory }));
      expect(count.parsed).toBe(2);
    }
  });
});

it('is not misled by a nonce that is spelled otherwise where it belongs', () => {
  // Attack: escapes hide the nonce from who looks for it, and show it at the end of another string.
  const inventory = { scope: `x"${NONCES[0]}`, containers: [], changed: [] };
  const spelled = (text: string) => text.replace(`"nonce":"0`, '"nonce":"\\u0030');
  const first = spelled(JSON.stringify(fresh(0, { inventory })));
  const { one } = reader();
  expect(one.read('device-1', bytesOf(first))).toEqual(fresh(0, { inventory }));
  const moved = first.replace(`x\\"${NONCES[0]}`, `x\\"${NONCES[1]}`);
  expect(moved).not.toBe(first);
  expect(one.read('device-1', bytesOf(moved))).toEqual(JSON.parse(moved));
});

it('reads whatever comes after whatever came as if it came alone', () => {
  const string = fc.constantFrom(...NONCES, QUOTE.attest, QUOTE.signature, '"', '\\', 'é', 'AAAA', '');
  const message = fc.record({
    nonce: fc.constantFrom(...NONCES),
    attest: fc.constantFrom(QUOTE.attest, '/1RDR4AYACIAC7V/', 'AAAA', ''),
    signature: fc.constantFrom(QUOTE.signature, QUOTE.attest, 'ABgACwAgvqDMqE9+'),
    scope: fc.option(fc.tuple(string, string).map(([a, b]) => a + b)),
    spaces: fc.constantFrom(0, 1),
    // One byte of the text is changed, or none is.
    change: fc.option(fc.record({ at: fc.nat(700), to: fc.constantFrom(0x22, 0x5c, 0x30, 0x61, 0xff) }), {
      freq: 2,
    }),
  });
  fc.assert(
    fc.property(fc.array(message, { minLength: 2, maxLength: 6 }), (messages) => {
      const { one } = reader();
      for (const { nonce, attest, signature, scope, spaces, change } of messages) {
        const inventory = scope === null ? MESSAGE.inventory : { scope, containers: [], changed: [] };
        const value = { ...MESSAGE, nonce, quote: { attest, signature }, inventory };
        const bytes = Buffer.from(JSON.stringify(value, undefined, spaces));
        if (change !== null && change.at < bytes.length) bytes[change.at] = change.to;
        expect(outcome(() => one.read('device-1', bytes))).toEqual(
          outcome(() => readBody(evidenceSubmit.body, bytes)),
        );
      }
    }),
    { numRuns: 2000 },
  );
});
