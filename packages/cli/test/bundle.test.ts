import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBase64 } from '@kallio/codec';
import { makeTrustedRoot } from '@kallio/signature';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../src/commands/all.ts';
import { runProgram } from '../src/program.ts';

const vectors = join(import.meta.dirname, '../../../../shared/vectors/sigstore-bundles');

/** The key of Sigstore's public log, rekor.sigstore.dev, since 2021. */
const rekor = makeTrustedRoot([
  {
    publicKey: fromBase64(
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==',
    ),
    origin: 'rekor.sigstore.dev - 1193050959916656506',
    validFrom: new Date('2021-01-12T11:53:27Z'),
  },
]);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-bundle-'));
  writeFileSync(join(dir, 'rekor.json'), rekor);
});
afterAll(() => rmSync(dir, { recursive: true }));

async function verify(...args: string[]): Promise<{ exit: number; code?: string }> {
  const printed: string[] = [];
  const streams = { out: (text: string) => void printed.push(text), err: () => {}, isTerminal: false };
  const exit = await runProgram(COMMANDS, ['bundle', 'verify', ...args, '--json'], streams);
  const { refusal, error } = JSON.parse(printed.join('')) as Record<
    'refusal' | 'error',
    { code: string } | undefined
  >;
  const code = (refusal ?? error)?.code;
  return code === undefined ? { exit } : { exit, code };
}

/** A vector with its own key and trusted root, or else those of the happy path. */
function vector(name: string): string[] {
  const own = (file: string, otherwise: string) => {
    const path = join(vectors, name, file);
    return existsSync(path) ? path : otherwise;
  };
  return [
    ...['--bundle', join(vectors, name, 'bundle.sigstore.json')],
    ...['--key', own('key.pub', join(vectors, 'managed-key-happy-path/key.pub'))],
    ...['--trusted-root', own('trusted_root.json', join(dir, 'rekor.json'))],
  ];
}

describe.skipIf(!existsSync(vectors))(
  'kallio bundle verify on sigstore-conformance’s bundles (skipped where absent)',
  () => {
    const artifact = join(vectors, 'a.txt');

    it.each(['managed-key-happy-path', 'managed-key-and-trusted-root'])('accepts %s', async (name) => {
      expect(await verify(...vector(name), artifact)).toEqual({ exit: 0 });
    });

    it.each([
      ['managed-key-wrong-key_fail', 'SIGNATURE_KEY_UNSUITABLE'],
      ['bundle-invalid-base64-signature_fail', 'BUNDLE_MEDIA_TYPE'],
      ['bundle-negative-log-index_fail', 'BUNDLE_MEDIA_TYPE'],
      ['bundle-unknown-version_fail', 'BUNDLE_MEDIA_TYPE'],
      ['checkpoint-bad-keyhint_fail', 'BUNDLE_MEDIA_TYPE'],
      ['checkpoint-wrong-roothash_fail', 'BUNDLE_MEDIA_TYPE'],
      ['dsse-invalid-sig_fail', 'BUNDLE_KEYLESS'],
      ['dsse-mismatch-envelope_fail', 'BUNDLE_KEYLESS'],
      ['dsse-mismatch-sig_fail', 'BUNDLE_KEYLESS'],
      // Good, and signed with a certificate: not what is verified here.
      ['happy-path-v0.3', 'BUNDLE_KEYLESS'],
    ])('refuses %s', async (name, code) => {
      expect(await verify(...vector(name), artifact)).toEqual({ exit: 1, code });
    });

    it('wants a key for managed-key-no-key_fail', async () => {
      const [bundle, root] = [vector('managed-key-no-key_fail').slice(0, 2), vector('any').slice(4)];
      expect(await verify(...bundle, ...root, artifact)).toEqual({ exit: 2, code: 'USAGE' });
      expect(await verify(...vector('managed-key-no-key_fail'), artifact)).toEqual({ exit: 0 });
    });

    it('refuses another artifact, and a digest where the bytes were signed', async () => {
      const honest = vector('managed-key-happy-path');
      const other = join(dir, 'other');
      writeFileSync(other, 'other');
      expect(await verify(...honest, other)).toEqual({ exit: 1, code: 'SIGNATURE_SUBJECT_MISMATCH' });
      const digest = `sha256:${'0'.repeat(64)}`;
      expect(await verify(...honest, digest)).toEqual({ exit: 1, code: 'SIGNATURE_NEEDS_ARTIFACT' });
      expect(await verify(...honest, join(dir, 'not-there'))).toEqual({ exit: 2, code: 'CLI_FILE' });
    });
  },
);
