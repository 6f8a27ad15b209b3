import { fromBase64, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { describe, expect, it } from 'vitest';
import { codes, judge, POLICY } from './support/appraise.ts';
import { type Changes, type Question, question, SoftwareAttester } from './support/attester.ts';

// Evidence here is signed by software P-256 keys, so that every flaw can be made; real TPMs are in the scenarios.

/** The honest twin: the same evidence without the flaw is VERIFIED. */
function honest(attester: SoftwareAttester, asked: Question, change: Changes = {}): EvidenceMessage {
  const message = attester.show(asked, change);
  expect(judge(attester, message, asked).platform.state).toBe('VERIFIED');
  return message;
}

/** Refused as not authentic, with this code, leaving nothing behind. */
function expectRefused(appraisal: ReturnType<typeof judge>, code: string): void {
  expect(codes(appraisal)).toEqual([code]);
  expect(appraisal.platform.state).toBe('UNKNOWN');
  expect(appraisal.platform.tier).toBeUndefined();
  expect(appraisal.authentic).toBe(false);
  expect(appraisal.boot).toBeUndefined();
  expect(appraisal.next).toBeUndefined();
}

describe('a quote', () => {
  it('is VERIFIED, tier C, and says what it cannot show', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const appraisal = judge(attester, attester.show(asked), asked);
    expect(appraisal.platform).toMatchObject({ state: 'VERIFIED', tier: 'C', refusals: [] });
    expect(appraisal.platform.limits.join(' ')).toMatch(/Tier C: no TPM maker/);
    expect(appraisal.boot).toMatchObject({ resetCount: 7, restartCount: 0, safe: true });
  });

  it('is refused with any single bit of quote, signature or PCR list turned', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const message = honest(attester, asked);
    for (const part of ['attest', 'signature'] as const) {
      const bytes = fromBase64(message.quote[part]);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = toBase64(flip(bytes, bit));
        const appraisal = judge(
          attester,
          { ...message, quote: { ...message.quote, [part]: flipped } },
          asked,
        );
        expect(appraisal.authentic, `${part} bit ${bit}`).toBe(false);
        expect(appraisal.platform.state).toBe('UNKNOWN');
      }
    }
    const values = message.pcrs[0]?.values ?? {};
    for (const [pcr, hex] of Object.entries(values)) {
      for (let bit = 0; bit < 256; bit++) {
        const flipped = toHex(flip(new Uint8Array(Buffer.from(hex, 'hex')), bit));
        const appraisal = judge(
          attester,
          { ...message, pcrs: [{ bank: 'sha256', values: { ...values, [pcr]: flipped } }] },
          asked,
        );
        expect(appraisal.authentic, `PCR ${pcr} bit ${bit}`).toBe(false);
      }
    }
  });

  it('is refused when the message around it is changed after quoting', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1' });
    const asked = question();
    const message = honest(attester, asked);
    const [entry] = message.instanceLog.entries;
    if (entry === undefined) throw new Error('one entry');
    const changes: Partial<EvidenceMessage>[] = [
      { inventory: { ...message.inventory, scope: '/elsewhere' } },
      { instanceLog: { from: 0, entries: [{ ...entry, salt: '00'.repeat(32) }] } },
      { instanceLog: { from: 0, entries: [] } },
      { eventLog: toBase64(utf8('another log')) },
      { ima: { from: 0, entries: '' } },
    ];
    for (const change of changes)
      expectRefused(judge(attester, { ...message, ...change }, asked), 'QUOTE_BINDING');
  });

  it.each<[string, (asked: Question) => Question, string]>([
    ['another purpose', (asked) => ({ ...asked, purpose: 'session-open' }), 'EVIDENCE_PURPOSE'],
    ['another attester', (asked) => ({ ...asked, attester: 'device-2' }), 'EVIDENCE_ATTESTER'],
    ['an old nonce', (asked) => ({ ...asked, nonce: 'ab'.repeat(32) }), 'EVIDENCE_NONCE'],
  ])('is refused for %s', (_, other, code) => {
    const attester = new SoftwareAttester();
    const asked = question();
    const message = honest(attester, asked);
    expectRefused(judge(attester, message, other(asked)), code);
    // The same, with the message's own field forged to what is expected: the signed binding decides.
    const { purpose, attester: name, nonce } = other(asked);
    expectRefused(
      judge(attester, { ...message, purpose, attester: name, nonce }, other(asked)),
      'QUOTE_BINDING',
    );
  });

  it.each<[string, Partial<Question>, Partial<Question>]>([
    ['another session', { session: 'session-1' }, { session: 'session-2' }],
    ['no session', {}, { session: 'session-2' }],
    ['another subject', { subject: digest('a') }, { subject: digest('b') }],
    ['another statement', { statement: digest('a') }, { statement: digest('b') }],
    ['another signing key', { signingKey: digest('a') }, { signingKey: digest('b') }],
    ['another TLS key', { tlsKey: digest('a') }, { tlsKey: digest('b') }],
    ['no TLS key', {}, { tlsKey: digest('b') }],
  ])('is refused when it is bound to %s', (_, bound, expected) => {
    const attester = new SoftwareAttester();
    const asked = question({ purpose: 'session-close', ...bound });
    const message = honest(attester, asked);
    expectRefused(
      judge(attester, message, { ...question(), ...asked, ...cleared(bound), ...expected }),
      'QUOTE_BINDING',
    );
  });

  it('is refused when its qualifyingData is empty', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    honest(attester, asked);
    const message = attester.show(asked, { attest: { extraData: new Uint8Array() } });
    expectRefused(judge(attester, message, asked), 'QUOTE_BINDING');
  });

  it('is refused when another AK signed it', () => {
    const attester = new SoftwareAttester();
    const other = new SoftwareAttester();
    const asked = question();
    const message = honest(other, asked);
    expectRefused(judge(attester, message, asked), 'QUOTE_SIGNATURE');
  });

  it('is refused with another magic: bytes that the TPM did not make', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    honest(attester, asked);
    expectRefused(
      judge(attester, attester.show(asked, { attest: { magic: 0xff54_4348 } }), asked),
      'QUOTE_MAGIC',
    );
  });

  it('is refused when it is a certification', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    honest(attester, asked);
    expectRefused(judge(attester, attester.show(asked, { attest: { type: 0x8017 } }), asked), 'QUOTE_TYPE');
  });

  const all = POLICY.pcrs;
  it.each([
    ['fewer PCRs than are judged', [{ bank: 'sha256', pcrs: all.slice(1) }]],
    ['more PCRs than are judged', [{ bank: 'sha256', pcrs: [...all, 16] }]],
    ['another bank', [{ bank: 'sha384', pcrs: all }]],
    [
      'two banks',
      [
        { bank: 'sha256', pcrs: all },
        { bank: 'sha1', pcrs: all },
      ],
    ],
    [
      'the PCRs in two selections of one bank',
      [
        { bank: 'sha256', pcrs: all.slice(0, 8) },
        { bank: 'sha256', pcrs: all.slice(8) },
      ],
    ],
    ['no PCR', [{ bank: 'sha256', pcrs: [] }]],
    ['no bank', []],
  ] as const)('is refused when its signed selection has %s', (_, select) => {
    const attester = new SoftwareAttester();
    const asked = question();
    honest(attester, asked);
    expectRefused(judge(attester, attester.show(asked, { attest: { select } }), asked), 'QUOTE_SELECTION');
  });

  it('is refused with PCR values that were not quoted, or without ones that were', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const message = honest(attester, asked);
    const values = message.pcrs[0]?.values ?? {};
    const { 7: _, ...without } = values;
    const zero = '00'.repeat(32);
    const offered = (pcrs: EvidenceMessage['pcrs']) => judge(attester, { ...message, pcrs }, asked);
    expectRefused(offered([{ bank: 'sha256', values: { ...values, 16: zero } }]), 'PCR_NOT_QUOTED');
    expectRefused(offered([{ bank: 'sha256', values: without }]), 'PCR_MISSING');
    expectRefused(
      offered([{ bank: 'sha256', values: { ...values, 7: `${zero}${'00'.repeat(16)}` } }]),
      'PCR_MISSING',
    );
    expectRefused(offered([{ bank: 'sha384', values }]), 'PCR_BANK_NOT_QUOTED');
    expectRefused(
      offered([
        { bank: 'sha256', values },
        { bank: 'sha384', values },
      ]),
      'PCR_BANK_NOT_QUOTED',
    );
    expectRefused(
      offered([
        { bank: 'sha256', values },
        { bank: 'sha256', values },
      ]),
      'PCR_BANK_NOT_QUOTED',
    );
  });

  it('is refused when base64 or structures are broken, without an exception', () => {
    const attester = new SoftwareAttester();
    const asked = question();
    const message = honest(attester, asked);
    const { attest, signature } = message.quote;
    expectRefused(
      judge(attester, { ...message, quote: { attest: `${attest}=`, signature } }, asked),
      'QUOTE_MALFORMED',
    );
    expectRefused(
      judge(attester, { ...message, quote: { attest, signature: '' } }, asked),
      'QUOTE_MALFORMED',
    );
    expectRefused(judge(attester, { ...message, eventLog: 'A' }, asked), 'EVIDENCE_MALFORMED');
  });
});

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const out = bytes.slice();
  out[bit >> 3] = (out[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return out;
}

function digest(name: string): `sha256:${string}` {
  return `sha256:${toHex(sha256(utf8(name)))}`;
}

function cleared(fields: Partial<Question>): Partial<Question> {
  return Object.fromEntries(Object.keys(fields).map((key) => [key, undefined]));
}
