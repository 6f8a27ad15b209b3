import { describe, expect, test } from 'vitest';
import { attesterOf } from '../src/index.ts';
import { x509 } from '../src/x509.ts';
import { authority, directoryName, ekCertificate, MANUFACTURER, rawNames, text } from './fixture-maker.ts';

const DOMAIN = 'edge.example';
const GOOD = `spiffe://${DOMAIN}/attester/be-1`;
const URI = 0x86;
const DNS = 0x82;
const root = await authority('Authority');

/** What a certificate with these names names. */
async function named(names: x509.Extension | null, more: readonly x509.Extension[] = []): Promise<string> {
  return attesterOf((await ekCertificate(root, { names, more })).der, DOMAIN);
}

const uri = (value: string) => rawNames(text(URI, value));
const refused = expect.objectContaining({ code: 'PKI_SPIFFE_ID' });

describe('the SPIFFE id of a client certificate', () => {
  test('names the attester', async () => {
    expect(await named(uri(GOOD))).toBe('be-1');
    expect(await named(uri(`spiffe://${DOMAIN}/attester/a`))).toBe('a');
    expect(await named(uri(`spiffe://${DOMAIN}/attester/edge-7.site-2`))).toBe('edge-7.site-2');
    expect(await named(uri(`spiffe://${DOMAIN}/attester/${'x'.repeat(63)}`))).toHaveLength(63);
  });

  test('is of this trust domain, letter by letter', async () => {
    for (const id of [
      'spiffe://other.example/attester/be-1',
      'spiffe://edge.example.evil.example/attester/be-1',
      'spiffe://evil.example/edge.example/attester/be-1',
      'spiffe://EDGE.example/attester/be-1',
      'spiffe://edge.example:443/attester/be-1',
      'spiffe://root@edge.example/attester/be-1',
      'https://edge.example/attester/be-1',
      'SPIFFE://edge.example/attester/be-1',
      // A byte order mark, which decoders of text leave out.
      '\uFEFFspiffe://edge.example/attester/be-1',
    ]) {
      await expect(named(uri(id)), id).rejects.toThrow(refused);
    }
    expect(await named(uri(GOOD))).toBe('be-1');
  });

  test('names one attester, and nothing that could be read as two', async () => {
    for (const attester of [
      '',
      'be-1/',
      'be-1/admin',
      '../server',
      'be-1?x=1',
      'be-1#x',
      'BE-1',
      'be_1',
      '-be',
      'be-',
      'be-1\n',
      'be-1\0',
      'b%65-1',
      'bé-1',
      'x'.repeat(64),
    ]) {
      await expect(named(uri(`spiffe://${DOMAIN}/attester/${attester}`)), attester).rejects.toThrow(refused);
    }
    await expect(named(uri(`spiffe://${DOMAIN}/server/be-1`))).rejects.toThrow(refused);
  });

  test('is the only name', async () => {
    for (const names of [
      null,
      rawNames(),
      rawNames(text(URI, GOOD), text(URI, `spiffe://${DOMAIN}/attester/be-2`)),
      rawNames(text(URI, GOOD), text(URI, GOOD)),
      rawNames(text(URI, GOOD), text(DNS, 'be-1')),
      rawNames(text(DNS, GOOD)),
      rawNames(directoryName([MANUFACTURER])),
    ]) {
      await expect(named(names)).rejects.toThrow(refused);
    }
    expect(await named(rawNames(text(URI, GOOD)))).toBe('be-1');
  });

  test('stands in one extension that can be read', async () => {
    const broken = new x509.Extension('2.5.29.17', false, new Uint8Array([0x30, 0x7f]));
    await expect(named(broken)).rejects.toThrow(expect.objectContaining({ code: 'PKI_SAN_MALFORMED' }));
    await expect(named(uri(GOOD), [uri(`spiffe://${DOMAIN}/attester/be-2`)])).rejects.toThrow(
      expect.objectContaining({ code: 'PKI_EXTENSION_TWICE' }),
    );
  });
});
