import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parsePemCertificates, verifyEkChain } from '../src/index.ts';
import { authority } from './fixture-maker.ts';

/** A maker that nobody here wrote: swtpm's, with an authority of its own for this test. */
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-pki-'));
  mkdirSync(join(dir, 'tpm'));
  const write = (name: string, lines: readonly string[]) =>
    writeFileSync(join(dir, name), `${lines.join('\n')}\n`);
  write('ca.conf', [
    `statedir = ${dir}`,
    `signingkey = ${join(dir, 'signkey.pem')}`,
    `issuercert = ${join(dir, 'issuer.pem')}`,
    `certserial = ${join(dir, 'certserial')}`,
  ]);
  write('ca.options', ['--platform-manufacturer Test', '--platform-version 1', '--platform-model t']);
  write('setup.conf', [
    'create_certs_tool = /usr/bin/swtpm_localca',
    `create_certs_tool_config = ${join(dir, 'ca.conf')}`,
    `create_certs_tool_options = ${join(dir, 'ca.options')}`,
  ]);
  const where = ['--tpmstate', join(dir, 'tpm'), '--config', join(dir, 'setup.conf')];
  execFileSync('swtpm_setup', ['--tpm2', ...where, '--create-ek-cert', '--write-ek-cert-files', dir], {
    stdio: 'ignore',
  });
});
afterAll(() => rmSync(dir, { recursive: true }));

const pem = (name: string) => parsePemCertificates(readFileSync(join(dir, name), 'utf8'));

describe('the EK certificates of a software TPM', () => {
  test.each(['ek-rsa2048.crt', 'ek-secp384r1.crt'])(
    '%s: believed where its maker is pinned, and only there',
    async (file) => {
      const certificate = new Uint8Array(readFileSync(join(dir, file)));
      const intermediates = pem('issuer.pem');
      const roots = pem('swtpm-localca-rootca-cert.pem');
      const now = new Date();
      const endorsement = verifyEkChain({ certificate, intermediates, roots, now });
      expect(endorsement.path).toEqual(['CN=swtpm-localca', 'CN=swtpm-localca-rootca']);
      expect(endorsement.tpm).toEqual({
        manufacturer: expect.stringMatching(/^id:[0-9A-F]{8}$/),
        model: 'swtpm',
        version: expect.stringMatching(/^id:[0-9]{8}$/),
      });
      expect(verifyEkChain({ certificate, intermediates: [], roots: intermediates, now }).path).toHaveLength(
        1,
      );
      const { der } = await authority('Maker Root');
      const others = { certificate, intermediates: [...intermediates, ...roots], now };
      for (const pinned of [[], [der]]) {
        expect(() => verifyEkChain({ ...others, roots: pinned })).toThrow(
          expect.objectContaining({ code: 'PKI_EK_UNTRUSTED' }),
        );
      }
    },
  );
});
