import { sha256, toHex } from '@kallio/codec';
import { beforeAll, describe, expect, test } from 'vitest';
import { TAG } from '../src/der.ts';
import { type EkEndorsement, type PkiCode, verifyEkChain } from '../src/index.ts';
import { x509 } from '../src/x509.ts';
import {
  attribute,
  authority,
  directoryName,
  EK_USAGE,
  ekCertificate,
  type Keys,
  MANUFACTURER,
  type Made,
  MODEL,
  NOW,
  newKeys,
  oid,
  rawNames,
  remade,
  type Shape,
  text,
  tlv,
  tpmNames,
  VERSION,
} from './fixture-maker.ts';

interface Chain {
  readonly certificate: Made;
  readonly intermediates?: readonly Made[];
  readonly roots?: readonly Made[];
  readonly now?: Date;
  readonly ek?: Uint8Array;
}

let root: Made;
let issuing: Made;
/** Signs nothing that should be believed. */
let stranger: Made;

beforeAll(async () => {
  root = await authority('Maker Root');
  issuing = await authority('Maker Issuing', root, { pathLength: 0 });
  stranger = await authority('Stranger');
});

function check(chain: Chain): EkEndorsement {
  return verifyEkChain({
    certificate: chain.certificate.der,
    intermediates: (chain.intermediates ?? [issuing]).map(({ der }) => der),
    roots: (chain.roots ?? [root]).map(({ der }) => der),
    now: chain.now ?? NOW,
    ...(chain.ek === undefined ? {} : { ek: chain.ek }),
  });
}

const code = (c: PkiCode) => expect.objectContaining({ code: c });

/** The attack is refused by its own code, and its honest twin is not. */
function refusedUnlike(c: PkiCode, attack: Chain, honest: Chain): void {
  expect(check(honest).spki).toEqual(honest.certificate.keys.spki);
  expect(() => check(attack)).toThrow(code(c));
}

/** An EK certificate by the issuing authority that differs in one thing, beside one that does not. */
async function refusedLeaf(c: PkiCode, attack: Shape, honest: Shape = {}): Promise<void> {
  refusedUnlike(
    c,
    { certificate: await ekCertificate(issuing, attack) },
    { certificate: await ekCertificate(issuing, honest) },
  );
}

/** An EK under an issuing authority that differs in one thing, beside one under an authority that does not. */
async function refusedIssuer(
  c: PkiCode,
  attack: Parameters<typeof authority>[2],
  honest: Parameters<typeof authority>[2] = {},
): Promise<void> {
  const chain = async (shape: Parameters<typeof authority>[2]): Promise<Chain> => {
    const issuer = await authority('Maker Other', root, shape);
    return { certificate: await ekCertificate(issuer), intermediates: [issuer] };
  };
  refusedUnlike(c, await chain(attack), await chain(honest));
}

describe('an EK certificate is accepted', () => {
  test('with the key it certifies, the path to its root and its TPM', async () => {
    const certificate = await ekCertificate(issuing);
    expect(check({ certificate })).toEqual({
      spki: certificate.keys.spki,
      root: 'CN=Maker Root',
      rootFingerprint: toHex(sha256(root.der)),
      path: ['CN=Maker Issuing', 'CN=Maker Root'],
      tpm: { manufacturer: 'id:54455354', model: 'Test TPM', version: 'id:00070002' },
    });
  });

  test('for RSA 2048 and P-384 keys, by issuers with either and by every hash of the SHA-2 family', async () => {
    for (const kind of ['rsa2048', 'p384'] as const) {
      const issuer = await authority('Maker Other', root, { keys: await newKeys(kind) });
      for (const hash of ['SHA-256', 'SHA-384', 'SHA-512'] as const) {
        const certificate = await ekCertificate(issuer, { hash });
        expect(check({ certificate, intermediates: [issuer] }).root).toBe('CN=Maker Root');
      }
      const certificate = await ekCertificate(issuing, { keys: issuer.keys });
      expect(check({ certificate }).spki).toEqual(issuer.keys.spki);
    }
  });

  test('straight under its root, and past intermediates that are not its own, in any order', async () => {
    const certificate = await ekCertificate(root);
    expect(check({ certificate, intermediates: [] }).path).toEqual(['CN=Maker Root']);
    const below = await ekCertificate(issuing);
    expect(
      check({ certificate: below, intermediates: [stranger, issuing, issuing, certificate] }).path,
    ).toEqual(['CN=Maker Issuing', 'CN=Maker Root']);
  });

  test('up to an authority that is pinned itself, whoever stands above it', async () => {
    const certificate = await ekCertificate(issuing);
    expect(check({ certificate, intermediates: [], roots: [issuing] }).root).toBe('CN=Maker Issuing');
  });

  test('when its maker renewed its key under the same name, and both certificates are pinned', async () => {
    const renewed = await authority('Maker Root');
    const certificate = await ekCertificate(renewed);
    for (const roots of [
      [root, renewed],
      [renewed, root],
    ]) {
      expect(check({ certificate, intermediates: [], roots }).root).toBe('CN=Maker Root');
    }
  });

  test('with notAfter 9999-12-31, until then', async () => {
    const certificate = await ekCertificate(root);
    expect(toHex(certificate.der)).toContain(toHex(text(TAG.generalizedTime, '99991231235959Z')));
    const lasting = await authority('Maker Root', undefined, {
      keys: root.keys,
      notAfter: new Date('9999-12-31T23:59:59Z'),
    });
    const now = new Date('9999-12-31T23:59:58Z');
    expect(check({ certificate, roots: [lasting], now }).root).toBe('CN=Maker Root');
  });
});

describe('an EK certificate is refused', () => {
  test('when its own key signed it', async () => {
    const keys = await newKeys();
    refusedUnlike(
      'PKI_EK_SELF_SIGNED',
      { certificate: await ekCertificate({ name: '', keys }, { keys }) },
      { certificate: await ekCertificate(issuing, { keys }) },
    );
    // Also when it says that its maker did.
    const claimed = await ekCertificate({ name: root.name, keys }, { keys });
    expect(() => check({ certificate: claimed })).toThrow(code('PKI_EK_SELF_SIGNED'));
  });

  test('when no root is pinned that vouches for it', async () => {
    const certificate = await ekCertificate(issuing);
    const honest: Chain = { certificate };
    refusedUnlike('PKI_EK_UNTRUSTED', { certificate, roots: [stranger] }, honest);
    refusedUnlike('PKI_EK_UNTRUSTED', { certificate, roots: [] }, honest);
    // A root that comes with the certificate is not one that is trusted.
    refusedUnlike('PKI_EK_UNTRUSTED', { certificate, intermediates: [issuing, root], roots: [] }, honest);
    refusedUnlike('PKI_EK_UNTRUSTED', { certificate, intermediates: [] }, honest);
  });

  test('when another key signed it in the name of its issuer, or of the root', async () => {
    const impostor: Made = { ...stranger, name: issuing.name };
    refusedUnlike(
      'PKI_SIGNATURE',
      { certificate: await ekCertificate(impostor) },
      { certificate: await ekCertificate(issuing) },
    );
    const root2 = await authority(root.name);
    const below = await authority('Maker Issuing', root2);
    refusedUnlike(
      'PKI_SIGNATURE',
      { certificate: await ekCertificate(below), intermediates: [below, root2] },
      { certificate: await ekCertificate(issuing), intermediates: [below, root2, issuing] },
    );
  });

  test('when it is for another key than the EK that is shown', async () => {
    const certificate = await ekCertificate(issuing);
    const { spki } = await newKeys();
    refusedUnlike('PKI_EK_MISMATCH', { certificate, ek: spki }, { certificate, ek: certificate.keys.spki });
  });

  test('before and after its time, to the second', async () => {
    const notBefore = new Date('2026-01-01T00:00:00Z');
    const notAfter = new Date('2026-12-31T23:59:59Z');
    const certificate = await ekCertificate(issuing, { notBefore, notAfter });
    const at = (time: string): Chain => ({ certificate, now: new Date(time) });
    refusedUnlike('PKI_NOT_YET_VALID', at('2025-12-31T23:59:59Z'), at('2026-01-01T00:00:00Z'));
    refusedUnlike('PKI_EXPIRED', at('2027-01-01T00:00:00Z'), at('2026-12-31T23:59:59Z'));
  });

  test('without the key purpose of EK certificates', async () => {
    await refusedLeaf('PKI_EK_USAGE', { usages: ['1.3.6.1.5.5.7.3.1'] });
    await refusedLeaf('PKI_EK_USAGE', { usages: ['2.23.133.8.3'] }, { usages: ['2.23.133.8.3', EK_USAGE] });
    await refusedLeaf('PKI_EK_USAGE', { usages: ['2.5.29.37.0'] });
    await refusedLeaf('PKI_EK_USAGE', { usages: null });
  });

  test('when it is an authority', async () => {
    await refusedLeaf('PKI_EK_IS_CA', { constraints: new x509.BasicConstraintsExtension(true, 0, true) });
    await refusedLeaf(
      'PKI_EK_IS_CA',
      { constraints: new x509.BasicConstraintsExtension(true) },
      { constraints: null },
    );
    expect(() => check({ certificate: issuing })).toThrow(code('PKI_EK_IS_CA'));
  });

  test('with an RSA key of 1024 bits', async () => {
    await refusedLeaf('PKI_EK_WEAK', { keys: await newKeys('rsa1024') }, { keys: await newKeys('rsa2048') });
  });

  test('with a critical extension that is not known', async () => {
    const value = new Uint8Array([5, 0]);
    const more = (id: string, critical: boolean) => ({ more: [new x509.Extension(id, critical, value)] });
    await refusedLeaf('PKI_CRITICAL_EXTENSION', more('1.2.3.4', true), more('1.2.3.4', false));
    // Known to others, but not acted on here: name constraints, policy constraints, revocation.
    for (const id of ['2.5.29.30', '2.5.29.36', '2.5.29.31']) {
      await refusedLeaf('PKI_CRITICAL_EXTENSION', more(id, true), more(id, false));
    }
    await refusedIssuer('PKI_CRITICAL_EXTENSION', more('1.2.3.4', true), more('1.2.3.4', false));
    // Directory attributes, key identifiers and policies restrict nothing here.
    for (const id of ['2.5.29.9', '2.5.29.14', '2.5.29.32', '2.5.29.35']) {
      await refusedLeaf('PKI_CRITICAL_EXTENSION', more('1.2.3.4', true), more(id, true));
    }
  });

  test('with an extension that is there twice', async () => {
    const constraints = new x509.BasicConstraintsExtension(true, 0, true);
    await refusedLeaf('PKI_EXTENSION_TWICE', { more: [constraints] });
  });

  test('when it is signed over SHA-1', async () => {
    await refusedLeaf('PKI_SHA1', { hash: 'SHA-1' });
    const issuer = await authority('Maker Other', root, { keys: await newKeys('rsa2048') });
    const chain = async (hash: 'SHA-1' | 'SHA-256'): Promise<Chain> => ({
      certificate: await ekCertificate(issuer, { hash }),
      intermediates: [issuer],
    });
    refusedUnlike('PKI_SHA1', await chain('SHA-1'), await chain('SHA-256'));
    // Anywhere below the root. What a root signed itself with proves nothing anyway.
    await refusedIssuer('PKI_SHA1', { hash: 'SHA-1' });
    const old = await authority('Maker Old', undefined, { hash: 'SHA-1' });
    expect(check({ certificate: await ekCertificate(old), roots: [old] }).root).toBe('CN=Maker Old');
  });

  test('when it is signed over MD5, or by an algorithm that is not accepted', async () => {
    const issuer = await authority('Maker Other', root, { keys: await newKeys('rsa2048') });
    const certificate = await ekCertificate(issuer);
    const nil = new Uint8Array([5, 0]);
    const algorithm = (id: string) => tlv(TAG.sequence, oid(id), nil);
    const chain = async (id: string, hash: string): Promise<Chain> => ({
      certificate: await remade(certificate, issuer, () => ({ algorithm: algorithm(id) }), { hash }),
      intermediates: [issuer],
    });
    const honest = await chain('1.2.840.113549.1.1.11', 'sha256');
    refusedUnlike('PKI_SIGNATURE_ALGORITHM', await chain('1.2.840.113549.1.1.4', 'md5'), honest);
    refusedUnlike('PKI_SIGNATURE_ALGORITHM', await chain('1.2.840.113549.1.1.10', 'sha256'), honest);
    // A name of another kind over an RSA signature.
    refusedUnlike('PKI_SIGNATURE', await chain('1.2.840.10045.4.3.2', 'sha256'), honest);
    // The right algorithm in the wrong place: what is signed must name it too (RFC 5280 section 4.1.1.2).
    const outer = algorithm('1.2.840.113549.1.1.12');
    const twofold = await remade(certificate, issuer, () => ({}), { outer });
    refusedUnlike('PKI_CERTIFICATE_MALFORMED', { ...honest, certificate: twofold }, honest);
  });
});

describe('an EK certificate is refused for its authorities', () => {
  test('when one is an end certificate', async () => {
    await refusedIssuer('PKI_ISSUER_NOT_CA', {
      constraints: new x509.BasicConstraintsExtension(false, undefined, true),
    });
    // The owner of a genuine TPM issues an EK certificate with it.
    const genuine = await ekCertificate(issuing);
    refusedUnlike(
      'PKI_ISSUER_NOT_CA',
      { certificate: await ekCertificate(genuine), intermediates: [genuine, issuing] },
      { certificate: genuine },
    );
  });

  test('when one has no basicConstraints', () =>
    refusedIssuer('PKI_ISSUER_UNCONSTRAINED', { constraints: null }));

  test('when one is a root that is pinned, but no authority', async () => {
    const lone = await ekCertificate(issuing);
    refusedUnlike(
      'PKI_ISSUER_NOT_CA',
      { certificate: await ekCertificate(lone), roots: [lone] },
      { certificate: await ekCertificate(issuing), roots: [issuing] },
    );
  });

  test('when one made an authority that it may not make', async () => {
    const further = await authority('Maker Further', issuing);
    const wide = await authority('Maker Issuing', root, { keys: issuing.keys, pathLength: 1 });
    const certificate = await ekCertificate(further);
    refusedUnlike(
      'PKI_PATH_LENGTH',
      { certificate, intermediates: [issuing, further] },
      { certificate, intermediates: [wide, further] },
    );
    const narrow = await authority('Maker Root', undefined, { keys: root.keys, pathLength: 0 });
    refusedUnlike(
      'PKI_PATH_LENGTH',
      { certificate: await ekCertificate(issuing), roots: [narrow] },
      { certificate: await ekCertificate(narrow), roots: [narrow] },
    );
  });

  test('but not for one that renewed itself: it is not counted (RFC 5280 section 4.2.1.9)', async () => {
    const narrow = await authority('Maker Root', undefined, { pathLength: 0 });
    const renewed = await authority('Maker Root', narrow);
    const certificate = await ekCertificate(renewed);
    expect(check({ certificate, intermediates: [renewed], roots: [narrow] }).path).toHaveLength(2);
  });

  test('when one has a key that may not sign certificates', async () => {
    await refusedIssuer('PKI_ISSUER_KEY_USAGE', {
      keyUsage: x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.cRLSign,
    });
    await refusedIssuer(
      'PKI_ISSUER_KEY_USAGE',
      { keyUsage: x509.KeyUsageFlags.keyAgreement },
      { keyUsage: null },
    );
  });

  test('when one is for other certificates', async () => {
    await refusedIssuer(
      'PKI_ISSUER_USAGE',
      { usages: ['2.23.133.8.2'] },
      { usages: ['2.23.133.8.2', EK_USAGE] },
    );
    await refusedIssuer('PKI_ISSUER_USAGE', { usages: ['1.3.6.1.5.5.7.3.1'] }, { usages: ['2.5.29.37.0'] });
  });

  test('when one has an RSA key of 1024 bits, also when it is pinned', async () => {
    const [weak, strong] = [await newKeys('rsa1024'), await newKeys('rsa2048')];
    await refusedIssuer('PKI_ISSUER_WEAK', { keys: weak }, { keys: strong });
    const chain = async (keys: Keys): Promise<Chain> => {
      const pinned = await authority('Maker Old', undefined, { keys });
      return { certificate: await ekCertificate(pinned), roots: [pinned] };
    };
    refusedUnlike('PKI_ISSUER_WEAK', await chain(weak), await chain(strong));
  });

  test('before and after the time of one, also of the root', async () => {
    await refusedIssuer('PKI_EXPIRED', { notAfter: new Date('2026-05-31T00:00:00Z') });
    await refusedIssuer('PKI_NOT_YET_VALID', { notBefore: new Date('2026-06-02T00:00:00Z') });
    const certificate = await ekCertificate(issuing);
    refusedUnlike('PKI_EXPIRED', { certificate, now: new Date('2046-01-02T00:00:00Z') }, { certificate });
  });

  test('when they issue each other', async () => {
    const [one, two] = [await newKeys(), await newKeys()];
    const a = await authority('A', { name: 'B', keys: two, der: root.der }, { keys: one });
    const b = await authority('B', { name: 'A', keys: one, der: root.der }, { keys: two });
    const cross = await authority('A', root, { keys: one });
    const certificate = await ekCertificate(a);
    refusedUnlike(
      'PKI_CHAIN_LOOP',
      { certificate, intermediates: [a, b] },
      { certificate, intermediates: [a, b, cross] },
    );
  });

  test('when there are more than six of them', async () => {
    const chain = [root];
    for (let i = 1; i <= 6; i++) chain.push(await authority(`Maker ${i}`, chain[i - 1]));
    const [, ...intermediates] = chain;
    const [sixth, seventh] = [chain[5] ?? root, chain[6] ?? root];
    refusedUnlike(
      'PKI_CHAIN_TOO_LONG',
      { certificate: await ekCertificate(seventh), intermediates },
      { certificate: await ekCertificate(sixth), intermediates },
    );
  });

  test('when more come with it than anybody needs', async () => {
    const certificate = await ekCertificate(issuing);
    const many = (count: number) => [...Array(count).fill(stranger), issuing];
    refusedUnlike(
      'PKI_TOO_MANY_CERTIFICATES',
      { certificate, intermediates: many(16) },
      { certificate, intermediates: many(15) },
    );
  });

  test('when all of them have issued all others', async () => {
    const keys = await newKeys();
    const mesh: Made[] = [];
    for (let i = 0; i < 16; i++) mesh.push(await authority('Mesh', undefined, { keys }));
    const certificate = await ekCertificate({ name: 'Mesh', keys });
    const [pinned = root] = mesh;
    refusedUnlike(
      'PKI_CHAIN_TOO_COMPLEX',
      { certificate, intermediates: mesh },
      { certificate, intermediates: mesh, roots: [root, pinned] },
    );
    expect(() => check({ certificate, intermediates: mesh })).toThrow(/in 64 signature checks/);
  });

  test('but not for one that comes many times: it is looked at once', async () => {
    const ended = await authority('Maker Old', root, { notAfter: new Date('2026-01-01T00:00:00Z') });
    const below = await authority('Maker Older', ended);
    const certificate = await ekCertificate(below);
    const intermediates = [...Array<Made>(8).fill(below), ...Array<Made>(8).fill(ended)];
    expect(() => check({ certificate, intermediates })).toThrow(code('PKI_EXPIRED'));
    expect(check({ certificate, intermediates, now: new Date('2025-01-01T00:00:00Z') }).path).toHaveLength(3);
  });

  test('by what is wrong with the one that came nearest', async () => {
    // A stranger of the same name is in the way; the maker's own authority ended.
    const namesake = await authority('Maker Other', stranger);
    const ended = await authority('Maker Other', root, { notAfter: new Date('2026-01-01T00:00:00Z') });
    const certificate = await ekCertificate(ended);
    for (const intermediates of [
      [namesake, ended],
      [ended, namesake],
    ]) {
      expect(() => check({ certificate, intermediates })).toThrow(code('PKI_EXPIRED'));
    }
  });
});

describe('the subject alternative name', () => {
  const tpm = { manufacturer: 'id:54455354', model: 'Test TPM', version: 'id:00070002' };
  const tpmOf = async (names: x509.Extension | null) =>
    check({ certificate: await ekCertificate(issuing, { names }) }).tpm;

  test('is read with its attributes in one RDN or in three, in any string type', async () => {
    expect(await tpmOf(tpmNames([MANUFACTURER, MODEL, VERSION]))).toEqual(tpm);
    expect(await tpmOf(tpmNames([VERSION], [MODEL], [MANUFACTURER]))).toEqual(tpm);
    const printable = attribute('2.23.133.2.1', 'id:54455354', TAG.printableString);
    expect(await tpmOf(tpmNames([printable, MODEL], [VERSION]))).toEqual(tpm);
  });

  test('may say less, be absent, or name more than the TPM', async () => {
    expect(await tpmOf(null)).toEqual({});
    expect(await tpmOf(tpmNames([MODEL]))).toEqual({ model: 'Test TPM' });
    // otherName with a hardwareModuleName (RFC 4108 section 5), which x509 libraries may not know.
    const hardware = tlv(0xa0, oid('1.3.6.1.5.5.7.8.4'), tlv(0xa0, tlv(TAG.sequence, oid('1.2.3'))));
    expect(await tpmOf(rawNames(hardware, directoryName([MANUFACTURER, MODEL, VERSION])))).toEqual(tpm);
  });

  test('is refused when it can’t be read, or names two makers', async () => {
    const other = attribute('2.23.133.2.1', 'id:4F544852');
    for (const attack of [
      tpmNames([MANUFACTURER, other]),
      rawNames(directoryName([MANUFACTURER]), directoryName([other])),
      rawNames(tlv(0xa4, MANUFACTURER)),
      new x509.Extension('2.5.29.17', true, new Uint8Array([0x30, 0x05, 0xa4])),
    ]) {
      await refusedLeaf('PKI_SAN_MALFORMED', { names: attack }, { names: tpmNames([MANUFACTURER]) });
    }
  });
});
