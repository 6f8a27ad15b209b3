import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBase64, toHex, utf8 } from '@kallio/codec';
import { QUOTED_PCRS } from '@kallio/evidence';
import { describe, expect, it } from 'vitest';
import { appraiseQuote, bareTpmPolicy, type QuoteAppraisal, type QuoteInput } from '../src/index.ts';
import { SoftwareAttester } from './support/attester.ts';

const NONCE = new Uint8Array(32).fill(7);

/** An untouched machine's quote, over the nonce itself. */
function shown(attester: SoftwareAttester): QuoteInput {
  return {
    quote: attester.quote({ extraData: NONCE }),
    pcrs: [
      {
        bank: 'sha256',
        values: Object.fromEntries(QUOTED_PCRS.map((pcr) => [String(pcr), toHex(attester.value(pcr))])),
      },
    ],
    akPublic: attester.akPublic,
    qualifyingData: NONCE,
  };
}

function codes({ platform }: QuoteAppraisal): string[] {
  return platform.refusals.map(({ code }) => code);
}

describe('a quote by itself', () => {
  const policy = bareTpmPolicy('bare');

  it('is VERIFIED by a policy, and says that containers were not looked at', () => {
    const appraisal = appraiseQuote({ ...shown(new SoftwareAttester()), policy });
    expect(appraisal).toMatchObject({ authentic: true, platform: { state: 'VERIFIED', tier: 'C' } });
    expect(appraisal.platform.limits.join(' ')).toMatch(/containers were not looked at/);
    expect(appraisal.boot).toMatchObject({ resetCount: 7 });
  });

  it('is authentic and UNKNOWN without a policy, for that one reason', () => {
    const appraisal = appraiseQuote(shown(new SoftwareAttester()));
    expect(appraisal).toMatchObject({ authentic: true, platform: { state: 'UNKNOWN' } });
    expect(codes(appraisal)).toEqual(['POLICY_NONE']);
  });

  it('is refused for another nonce', () => {
    const input = { ...shown(new SoftwareAttester()), policy };
    expect(appraiseQuote(input).authentic).toBe(true);
    const other = appraiseQuote({ ...input, qualifyingData: new Uint8Array(32).fill(8) });
    expect(other.authentic).toBe(false);
    expect(codes(other)).toEqual(['QUOTE_BINDING']);
  });

  it('is refused when values are offered under other PCRs than were signed, with a policy and without', () => {
    const attester = new SoftwareAttester();
    attester.extend(0, utf8('0'.repeat(32)));
    const honest = shown(attester);
    expect(appraiseQuote(honest).authentic).toBe(true);
    // CVE-2024-29039: PCRs 0 to 15 are claimed, 8 to 23 were quoted: the values hash to the signed digest all the same.
    const select = [{ bank: 'sha256' as const, pcrs: QUOTED_PCRS.map((pcr) => pcr + 8) }];
    const values = Object.fromEntries(QUOTED_PCRS.map((pcr) => [String(pcr), '00'.repeat(32)]));
    const forged: QuoteInput = {
      ...honest,
      quote: attester.quote({ extraData: NONCE, select }),
      pcrs: [{ bank: 'sha256', values }],
    };
    for (const input of [forged, { ...forged, policy }]) {
      expect(appraiseQuote(input).authentic).toBe(false);
      expect(codes(appraiseQuote(input))).toEqual(['QUOTE_SELECTION']);
    }
  });

  it('leaves an extended PCR 14 unexplained, as no instance log stands beside it', () => {
    const attester = new SoftwareAttester();
    expect(codes(appraiseQuote({ ...shown(attester), policy }))).toEqual([]);
    attester.record({ verb: 'create', container: 'c1' });
    const appraisal = appraiseQuote({ ...shown(attester), policy });
    expect(appraisal.platform.state).toBe('UNKNOWN');
    expect(codes(appraisal)).toEqual(['PCR_UNEXPLAINED']);
  });
});

describe('a captured boot', () => {
  const folder = join(import.meta.dirname, '../../evidence/test/fixtures/debian12-qemu');
  const file = (name: string) => new Uint8Array(readFileSync(join(folder, name)));
  const blob = file('q1.pcrs');
  // Two lists of TPML_DIGEST, eight slots of 66 bytes each, after 136 bytes of selection.
  const value = (pcr: number) => {
    const at = 136 + (pcr >> 3) * 532 + 4 + (pcr & 7) * 66 + 2;
    return toHex(blob.subarray(at, at + 32));
  };
  const boot: QuoteInput = {
    quote: { attest: toBase64(file('q1.msg')), signature: toBase64(file('q1.sig')) },
    pcrs: [
      {
        bank: 'sha256',
        values: Object.fromEntries(Array.from({ length: 15 }, (_, pcr) => [String(pcr), value(pcr)])),
      },
    ],
    // TPM2B_PUBLIC: two bytes of size before the TPMT_PUBLIC.
    akPublic: file('ak.pub').subarray(2),
    qualifyingData: Uint8Array.from({ length: 32 }, (_, i) => i + 1),
    eventLog: toBase64(file('bios.bin')),
    ima: { from: 0, entries: toBase64(file('q1.ima.bin')) },
  };

  it('replays to its quote, and is UNKNOWN only for want of a policy', () => {
    expect(codes(appraiseQuote(boot))).toEqual(['POLICY_NONE']);
  });

  it('is VIOLATED without any policy when its logs are cut, or are another boot’s', () => {
    const cut = toBase64(file('bios.bin').subarray(0, -64));
    expect(codes(appraiseQuote({ ...boot, eventLog: cut }))[0]).toBe('EVENTLOG_MALFORMED');
    const short = { from: 0, entries: toBase64(imaEntries(file('q1.ima.bin'), 1)) };
    expect(codes(appraiseQuote({ ...boot, ima: short }))[0]).toBe('IMA_MISMATCH');
  });
});

/** The first entries of an IMA log of the template ima-ng. */
function imaEntries(bytes: Uint8Array, count: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  for (let i = 0; i < count; i++) {
    at += 24;
    at += 4 + view.getUint32(at, true);
    at += 4 + view.getUint32(at, true);
  }
  return bytes.subarray(0, at);
}
