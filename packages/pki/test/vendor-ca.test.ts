import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '@kallio/codec';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Certificate, nameText, parseCertificate, publicKeyOf } from '../src/certificate.ts';
import { isPkiError } from '../src/error.ts';
import { parsePemCertificates } from '../src/index.ts';
import { pathToRoot, requireAuthority } from '../src/path.ts';
import { NOW } from './fixture-maker.ts';

/** Roots and intermediates of TPM makers, beside the project. */
const FOLDER = join(import.meta.dirname, '../../../../shared/vectors/tpm-vendor-ca');
const present = existsSync(FOLDER);
const title = present
  ? 'makers’ authorities'
  : 'makers’ authorities (skipped: ../shared/vectors/tpm-vendor-ca is absent)';

describe.skipIf(!present)(title, () => {
  let files: string[];
  let all: Certificate[];

  beforeAll(() => {
    files = readdirSync(FOLDER).filter((name) => name.endsWith('.pem'));
    const ders = files.flatMap((name) => parsePemCertificates(readFileSync(join(FOLDER, name), 'utf8')));
    all = [...new Map(ders.map((der) => [toHex(der), parseCertificate(der)])).values()];
  });

  const selfIssued = ({ subject, issuer }: Certificate) => subject === issuer;

  /** How many have a path to one of these roots, and why others have not. */
  function outcomes(certificates: readonly Certificate[], roots: readonly Certificate[]) {
    return counted(certificates.map((certificate) => outcomeOf(certificate, roots)));
  }

  function counted(each: readonly string[]): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const one of each) counts[one] = (counts[one] ?? 0) + 1;
    return counts;
  }

  function outcomeOf(certificate: Certificate, roots: readonly Certificate[]): string {
    return codeOf(() => pathToRoot(certificate, { intermediates: all, roots, now: NOW })) ?? 'path';
  }

  function codeOf(check: () => unknown): string | undefined {
    try {
      check();
      return undefined;
    } catch (error) {
      if (!isPkiError(error)) throw error;
      return error.code;
    }
  }

  test('parse, all of them', () => {
    expect({ files: files.length, certificates: all.length }).toEqual({ files: 51, certificates: 45 });
    expect(all.filter(selfIssued)).toHaveLength(11);
  });

  test('chain to the self-signed ones among them, or are refused with a reason', () => {
    const roots = all.filter(selfIssued);
    const others = all.filter((one) => !selfIssued(one));
    expect(outcomes(others, roots)).toEqual({
      // Infineon’s of TPM 2.0 (9), Intel’s (1), STMicroelectronics’ RSA ones up to GlobalSign’s root (8).
      path: 18,
      // Infineon’s of TPM 1.2, 2005 to 2013.
      PKI_SHA1: 11,
      // Alibaba’s, Nationz’, STMicroelectronics’ two ECC ones, Infineon’s of TPM 1.2 under VeriSign: their root is not
      // in the folder.
      PKI_EK_UNTRUSTED: 5,
    });
  });

  test('may all issue EK certificates by what they say of themselves, but one that ended', () => {
    const what = 'The authority';
    const codes = all.map((one) =>
      codeOf(() => {
        publicKeyOf(one, what, 'PKI_ISSUER_WEAK');
        requireAuthority(one, [one], NOW, what);
      }),
    );
    // Infineon’s first one, of TPM 1.2: 2005 to 2025.
    expect(counted(codes.map((code) => code ?? 'authority'))).toEqual({ authority: 44, PKI_EXPIRED: 1 });
  });

  test('are trusted when they are named, and only then', () => {
    expect(outcomes(all, [])).toMatchObject({ PKI_EK_UNTRUSTED: expect.any(Number) });
    expect(outcomes(all, [])).not.toHaveProperty('path');
    const intel = all.filter(({ issuer }) => nameText(issuer).includes('Intel Corporation'));
    const [root] = intel.filter(selfIssued);
    const [issued] = intel.filter((one) => !selfIssued(one));
    if (root === undefined || issued === undefined) throw new Error('Intel’s are gone');
    expect(pathToRoot(issued, { intermediates: [], roots: [root], now: NOW })).toEqual([root]);
    const strangers = all.filter((one) => one !== root && one !== issued);
    expect(outcomeOf(issued, strangers)).toBe('PKI_EK_UNTRUSTED');
  });

  test('ended or not: the time is looked at', () => {
    const issued = all.filter((one) => !selfIssued(one));
    const later = new Date('2050-06-01T00:00:00Z');
    for (const certificate of issued) {
      expect(() => pathToRoot(certificate, { intermediates: all, roots: all, now: later })).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^PKI_(EXPIRED|SHA1|EK_UNTRUSTED)$/) }),
      );
    }
  });
});
