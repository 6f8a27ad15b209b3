import { verify } from 'node:crypto';
import { fromBase64, fromHex, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import type { PcrSelection, VerifyAside } from '@kallio/tpm/structures';
import { describe, expect, test } from 'vitest';
import {
  type Attestation,
  authenticateQuote,
  CheckedSignature,
  type EvidenceCode,
  type PcrBank,
  QUOTED_PCRS,
  quotedPcrs,
} from '../src/index.ts';
import { at, flip } from './support/bytes.ts';
import { pcrsOf, pcrValue, publicArea, quoteOf } from './support/captured.ts';
import { code, outcome } from './support/refusal.ts';
import { type QuoteFields, type Scheme, SoftwareAk } from './support/software-ak.ts';

/** A quote that a TPM made, and what it answers. */
interface Captured {
  readonly name: string;
  readonly akPublic: Uint8Array;
  readonly quote: Attestation;
  readonly qualifyingData: Uint8Array;
  readonly pcrs: readonly number[];
  readonly offered: PcrBank;
}

const to14 = QUOTED_PCRS.slice(0, 15);
const CAPTURED: readonly Captured[] = [
  {
    name: 'ECDSA, after the boot of a Debian 12 guest',
    akPublic: publicArea('debian12-qemu/ak.pub'),
    quote: quoteOf('debian12-qemu/q1'),
    qualifyingData: Uint8Array.from({ length: 32 }, (_, i) => i + 1),
    pcrs: to14,
    offered: pcrsOf('debian12-qemu/q1', 15),
  },
  {
    name: 'ECDSA, after that guest ran a container',
    akPublic: publicArea('debian12-qemu/ak.pub'),
    quote: quoteOf('debian12-qemu/q3'),
    qualifyingData: new Uint8Array(32).fill(0x22),
    pcrs: to14,
    offered: pcrsOf('debian12-qemu/q3', 15),
  },
  ...(['rsassa', 'rsapss'] as const).map((scheme) => ({
    name: `RSA, ${scheme}`,
    akPublic: publicArea(`swtpm-rsa/${scheme}.pub`),
    quote: quoteOf(`swtpm-rsa/${scheme}`),
    qualifyingData: sha256(utf8(`kallio test ${scheme}`)),
    pcrs: QUOTED_PCRS,
    offered: pcrsOf(`swtpm-rsa/${scheme}`, 16),
  })),
];

function check({ quote, akPublic, qualifyingData, pcrs, offered }: Omit<Captured, 'name'>) {
  return quotedPcrs(authenticateQuote(quote, { akPublic, qualifyingData }), [offered], {
    bank: 'sha256',
    pcrs,
  });
}

const verifyAside: VerifyAside = async (hash, message, key, signature) =>
  verify(hash, message, key, signature);

describe.each(CAPTURED)('a quote of a real TPM: $name', (captured) => {
  const attest = fromBase64(captured.quote.attest);
  const signature = fromBase64(captured.quote.signature);

  test('proves the PCR values it was made over', () => {
    const verified = check(captured);
    expect(verified.bank).toBe('sha256');
    expect([...verified.pcrs.keys()]).toEqual(captured.pcrs);
    for (const [pcr, value] of verified.pcrs) expect(toHex(value)).toBe(pcrValue(captured.offered, pcr));
    expect(verified.clockInfo.safe).toBe(true);
  });

  test('is refused once another key stands where its AK stood, though that array was looked at before', () => {
    const akPublic = captured.akPublic.slice();
    check({ ...captured, akPublic });
    check({ ...captured, akPublic });
    akPublic.set(flip(akPublic, akPublic.length * 8 - 1));
    expect(() => check({ ...captured, akPublic })).toThrow(code('QUOTE_SIGNATURE'));
    akPublic.set(captured.akPublic);
    check({ ...captured, akPublic });
  });

  test('is refused with any bit of what was signed turned', () => {
    check(captured);
    // Stops every change to a quote under way: clock, selection, digest, nonce, the name of the signer.
    const seen = new Set<string>();
    for (let bit = 0; bit < attest.length * 8; bit++) {
      const quote = { ...captured.quote, attest: toBase64(flip(attest, bit)) };
      const result = outcome(() => check({ ...captured, quote }));
      seen.add('code' in result ? result.code : `bit ${bit} is believed`);
    }
    expect([...seen]).toEqual(['QUOTE_SIGNATURE']);
  });

  test('needs no second verification where it was verified ahead; what was found counts for it alone', async () => {
    const { akPublic, qualifyingData, quote } = captured;
    const authenticate = (shown: Attestation, checked: CheckedSignature | undefined, ak = akPublic) =>
      authenticateQuote(shown, { akPublic: ak, qualifyingData, checked });
    const bad = { ...quote, attest: toBase64(flip(attest, attest.length * 8 - 1)) };
    const [good, refused] = await Promise.all([
      CheckedSignature.of(quote, akPublic, verifyAside),
      CheckedSignature.of(bad, akPublic, verifyAside),
    ]);
    expect(good?.tells(quote, akPublic)).toBe(true);
    expect(authenticate(quote, good)).toEqual(authenticate(quote, undefined));
    // The same refusal as without it, to the word.
    const plain = outcome(() => authenticate(bad, undefined));
    expect(plain).toMatchObject({ code: 'QUOTE_SIGNATURE' });
    expect(outcome(() => authenticate(bad, refused))).toEqual(plain);
    // Attack: what was found out about a good quote is handed in with a bad one, or with the good one and another AK.
    expect(outcome(() => authenticate(bad, good))).toEqual(plain);
    const otherAk = flip(akPublic, akPublic.length * 8 - 1);
    expect(() => authenticate(quote, good, otherAk)).toThrow(code('QUOTE_SIGNATURE'));
    // And a quote is not refused for what was found out about another.
    expect(authenticate(quote, refused)).toEqual(authenticate(quote, undefined));
    // The array of the AK is the caller's: what is written into it later was not verified.
    const mine = akPublic.slice();
    const underWay = CheckedSignature.of(quote, mine, verifyAside);
    mine.set(otherAk);
    const checked = await underWay;
    expect(() => authenticate(quote, checked, mine)).toThrow(code('QUOTE_SIGNATURE'));
    expect(checked?.tells(quote, akPublic)).toBe(true);
    expect(await CheckedSignature.of({ ...quote, signature: 'AA==' }, akPublic, verifyAside)).toBeUndefined();
  });

  test('is taken to hold for itself alone, and by a question that says whether it does', () => {
    const { akPublic, qualifyingData, quote } = captured;
    const answer = (shown: Attestation) => {
      const { question } = CheckedSignature.takenToHold(shown, akPublic) ?? {};
      return question === undefined ? undefined : verify(...question);
    };
    const bad = { ...quote, attest: toBase64(flip(attest, attest.length * 8 - 1)) };
    expect([answer(quote), answer(bad)]).toEqual([true, false]);
    const taken = CheckedSignature.takenToHold(quote, akPublic)?.checked;
    const authenticate = (shown: Attestation, ak = akPublic) =>
      authenticateQuote(shown, { akPublic: ak, qualifyingData, checked: taken });
    expect(authenticate(quote)).toEqual(authenticateQuote(quote, { akPublic, qualifyingData }));
    // Attack: another quote, or another AK, rides on what was taken to hold.
    expect(() => authenticate(bad)).toThrow(code('QUOTE_SIGNATURE'));
    expect(() => authenticate(quote, flip(akPublic, akPublic.length * 8 - 1))).toThrow(
      code('QUOTE_SIGNATURE'),
    );
    // What can't hold is not taken to: no signature at all, and one of a scheme that is not the key's.
    expect(answer({ ...quote, signature: 'AA==' })).toBeUndefined();
    const other = new SoftwareAk(captured.name.includes('rsapss') ? 'rsassa' : 'rsapss');
    expect(answer({ ...quote, signature: toBase64(other.sign(attest)) })).toBeUndefined();
  });

  test('is refused with any bit of its signature turned', () => {
    check(captured);
    // Stops a forged signature, another scheme or hash in its header, and a second spelling of its lengths.
    const seen = new Set<string>();
    for (let bit = 0; bit < signature.length * 8; bit++) {
      const quote = { ...captured.quote, signature: toBase64(flip(signature, bit)) };
      const result = outcome(() => check({ ...captured, quote }));
      seen.add('code' in result ? result.code : `bit ${bit} is believed`);
    }
    expect([...seen].sort()).toEqual(['QUOTE_MALFORMED', 'QUOTE_SIGNATURE']);
  });

  test('is refused with any bit of an offered PCR value turned', () => {
    check(captured);
    // Stops an attester from showing the values of a healthy machine beside the quote of a sick one.
    const authentic = authenticateQuote(captured.quote, captured);
    const seen = new Set<string>();
    for (const pcr of captured.pcrs) {
      const value = fromHex(pcrValue(captured.offered, pcr));
      for (let bit = 0; bit < 256; bit++) {
        const values = { ...captured.offered.values, [pcr]: toHex(flip(value, bit)) };
        const result = outcome(() =>
          quotedPcrs(authentic, [{ bank: 'sha256', values }], { bank: 'sha256', pcrs: captured.pcrs }),
        );
        seen.add('code' in result ? result.code : `PCR ${pcr} bit ${bit} is believed`);
      }
    }
    expect([...seen]).toEqual(['PCR_DIGEST']);
  });

  test('is refused cut anywhere or with a byte more', () => {
    check(captured);
    // Stops a structure that another reader would read further, or not as far.
    for (let end = 0; end < signature.length; end++) {
      const quote = { ...captured.quote, signature: toBase64(signature.subarray(0, end)) };
      expect(() => check({ ...captured, quote })).toThrow(code('QUOTE_MALFORMED', '/quote/signature'));
    }
    for (let end = 0; end < attest.length; end++) {
      const quote = { ...captured.quote, attest: toBase64(attest.subarray(0, end)) };
      expect(() => check({ ...captured, quote })).toThrow(code('QUOTE_SIGNATURE'));
    }
    const longer = toBase64(Uint8Array.of(...signature, 0));
    expect(() => check({ ...captured, quote: { ...captured.quote, signature: longer } })).toThrow(
      code('QUOTE_MALFORMED', '/quote/signature'),
    );
  });

  test('is refused as the answer to another question', () => {
    check(captured);
    // Stops replay: an old quote of the same machine, shown for a new nonce.
    const qualifyingData = flip(captured.qualifyingData, 0);
    expect(() => check({ ...captured, qualifyingData })).toThrow(code('QUOTE_BINDING', '/quote/attest'));
    // A prefix of the right answer is not the answer: comparing as far as the shorter one reaches accepts nothing at all.
    for (const length of [0, 31]) {
      const short = captured.qualifyingData.slice(0, length);
      expect(() => check({ ...captured, qualifyingData: short })).toThrow(code('QUOTE_BINDING'));
    }
  });

  test('is refused under every other AK', () => {
    check(captured);
    // Stops relay: a healthy machine's TPM that answers for the one that is enrolled.
    const others = [
      publicArea('debian12-qemu/akrsa.pub'),
      ...CAPTURED.filter(({ akPublic }) => !Buffer.from(akPublic).equals(captured.akPublic)).map(
        ({ akPublic }) => akPublic,
      ),
    ];
    for (const akPublic of others)
      expect(() => check({ ...captured, akPublic })).toThrow(code('QUOTE_SIGNATURE', '/quote/signature'));
  });

  test('is refused where other PCRs or another bank are judged', () => {
    check(captured);
    // Stops a quote that leaves out the PCR that would betray the machine.
    for (const pcrs of [captured.pcrs.slice(1), captured.pcrs.slice(0, -1), [...captured.pcrs, 16], []]) {
      expect(() => check({ ...captured, pcrs })).toThrow(code('QUOTE_SELECTION', '/quote/attest'));
    }
    const authentic = authenticateQuote(captured.quote, captured);
    expect(() => quotedPcrs(authentic, [captured.offered], { bank: 'sha384', pcrs: captured.pcrs })).toThrow(
      code('QUOTE_SELECTION'),
    );
  });
});

const PCRS = [0, 7];
const SELECT: readonly PcrSelection[] = [{ bank: 'sha256', pcrs: PCRS }];
const VALUES = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const NONCE = sha256(utf8('a question'));
const OFFERED: PcrBank = { bank: 'sha256', values: { 0: toHex(at(VALUES, 0)), 7: toHex(at(VALUES, 1)) } };
const HONEST: QuoteFields = { extraData: NONCE, select: SELECT, values: VALUES };

describe.each<Scheme>(['ecdsa', 'rsassa', 'rsapss'])('what an AK signs by %s', (scheme) => {
  const ak = new SoftwareAk(scheme);
  const judge = (quote: Attestation, offered: readonly PcrBank[] = [OFFERED]) =>
    quotedPcrs(authenticateQuote(quote, { akPublic: ak.public, qualifyingData: NONCE }), offered, {
      bank: 'sha256',
      // The same array each time: what the AK quoted before is remembered by it.
      pcrs: PCRS,
    });

  const flaws: readonly [string, EvidenceCode, Partial<QuoteFields>][] = [
    // Stops bytes that the AK was made to sign through TPM2_Hash: the TPM refuses only this one prefix.
    ['has another magic', 'QUOTE_MAGIC', { magic: 0xff54_4346 }],
    // Stops a certification, which the same AK signs for a new key and the same nonce, from standing for a quote.
    ['is a certification', 'QUOTE_TYPE', { type: 0x8017 }],
    ['is the certification of an NV index', 'QUOTE_TYPE', { type: 0x8014 }],
    ['is of a type nobody knows', 'QUOTE_TYPE', { type: 0x80ff }],
    // Stops fields after the end, which a laxer reader might take for the real ones.
    ['has bytes after its end', 'QUOTE_MALFORMED', { trailing: Uint8Array.of(0) }],
    // Stops a quote that is bound to nothing, as tpm2_quote makes it without -q, from answering any question.
    ['is bound to nothing', 'QUOTE_BINDING', { extraData: new Uint8Array() }],
    // Stops a quote over nothing, over less, or over another bank: its digest would hold for any machine.
    ['selects no bank', 'QUOTE_SELECTION', { select: [] }],
    ['selects no PCR', 'QUOTE_SELECTION', { select: [{ bank: 'sha256', pcrs: [] }] }],
    ['selects fewer PCRs', 'QUOTE_SELECTION', { select: [{ bank: 'sha256', pcrs: [0] }] }],
    ['selects other PCRs', 'QUOTE_SELECTION', { select: [{ bank: 'sha256', pcrs: [0, 16] }] }],
    ['selects another bank', 'QUOTE_SELECTION', { select: [{ bank: 'sha1', pcrs: [0, 7] }] }],
    [
      'selects a second bank',
      'QUOTE_SELECTION',
      { select: [...SELECT, { bank: 'sha1', pcrs: [0, 7] }], digest: sha256(...VALUES) },
    ],
    [
      'selects its PCRs in two parts',
      'QUOTE_SELECTION',
      {
        select: [
          { bank: 'sha256', pcrs: [0] },
          { bank: 'sha256', pcrs: [7] },
        ],
      },
    ],
    // Stops the same values in another order: PCR 7's good value in PCR 0's place.
    ['is over the values in another order', 'PCR_DIGEST', { values: VALUES.toReversed() }],
    // Stops a digest that is a prefix of the right one.
    ['has a shorter digest', 'PCR_DIGEST', { digest: sha256(...VALUES).slice(0, 20) }],
    ['has an empty digest', 'PCR_DIGEST', { digest: new Uint8Array() }],
  ];
  test.each(flaws)('is refused when it %s', (_, expected, flaw) => {
    expect([...judge(ak.quote(HONEST)).pcrs.keys()]).toEqual([0, 7]);
    expect(() => judge(ak.quote({ ...HONEST, ...flaw }))).toThrow(code(expected));
  });

  const offers: readonly [string, EvidenceCode, string, readonly PcrBank[]][] = [
    // Stops values that nobody signed from lying beside those that were, for a careless reader to find.
    ['a PCR too many', 'PCR_NOT_QUOTED', 'pcr:16', [withValues({ 16: '00'.repeat(32) })]],
    // Stops a second value for a quoted PCR under another spelling of its number.
    ['PCR 7 as 07', 'PCR_NOT_QUOTED', 'pcr:07', [withValues({ '07': '00'.repeat(32) })]],
    ['PCR 0 as an empty name', 'PCR_NOT_QUOTED', 'pcr:', [withValues({ '': '00'.repeat(32) })]],
    ['PCR 7 as 7.0', 'PCR_NOT_QUOTED', 'pcr:7.0', [withValues({ '7.0': '00'.repeat(32) })]],
    ['a PCR too few', 'PCR_MISSING', 'pcr:7', [{ bank: 'sha256', values: { 0: toHex(at(VALUES, 0)) } }]],
    ['nothing', 'PCR_MISSING', 'pcr:0', []],
    ['a value of another bank’s length', 'PCR_MISSING', 'pcr:7', [withValues({ 7: '02'.repeat(48) })]],
    ['another bank', 'PCR_BANK_NOT_QUOTED', '/pcrs/0', [{ ...OFFERED, bank: 'sha384' }]],
    ['another bank too', 'PCR_BANK_NOT_QUOTED', '/pcrs/1', [OFFERED, { ...OFFERED, bank: 'sha384' }]],
    ['the same bank twice', 'PCR_BANK_NOT_QUOTED', '/pcrs/1', [OFFERED, OFFERED]],
  ];
  test.each(offers)('is refused when beside it is offered %s', (_, expected, pointer, offered) => {
    const quote = ak.quote(HONEST);
    judge(quote);
    expect(() => judge(quote, offered)).toThrow(code(expected, pointer));
  });

  test('is refused with base64 in a second spelling', () => {
    const quote = ak.quote(HONEST);
    judge(quote);
    // Stops one quote from having two digests: evidence is stored and named by the digest of its text.
    for (const part of ['attest', 'signature'] as const) {
      const pointer = `/quote/${part}`;
      for (const text of [`${quote[part]}=`, ` ${quote[part]}`, quote[part].replaceAll('=', ''), '%'])
        if (text !== quote[part])
          expect(() => judge({ ...quote, [part]: text })).toThrow(code('QUOTE_MALFORMED', pointer));
    }
  });
});

function withValues(values: Readonly<Record<string, string>>): PcrBank {
  return { bank: 'sha256', values: { ...OFFERED.values, ...values } };
}

test('a signature over SHA-1 is none, though the key would make it', () => {
  // Stops collisions: two quotes with one SHA-1 signature. The twin has the same bytes and SHA-256.
  const ak = new SoftwareAk('ecdsa');
  const quote = ak.quote(HONEST);
  const expected = { akPublic: ak.public, qualifyingData: NONCE };
  expect(authenticateQuote(quote, expected).hash).toBe('sha256');
  const weak = toBase64(ak.sign(fromBase64(quote.attest), 'sha1'));
  expect(() => authenticateQuote({ ...quote, signature: weak }, expected)).toThrow(code('QUOTE_SIGNATURE'));
});
