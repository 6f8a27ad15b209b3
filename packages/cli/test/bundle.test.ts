import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf, fromBase64, fromUtf8, utf8 } from '@kallio/codec';
import { makeTrustedRoot } from '@kallio/signature';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../src/commands/all.ts';
import { runProgram } from '../src/program.ts';
import { writeSignedFile } from './support/signed-file.ts';

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
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-bundle-'));
  writeFileSync(join(dir, 'rekor.json'), rekor);
  await writeSignedFile(dir, utf8('what is released'));
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

    it('takes the digest for the file, and refuses another of either', async () => {
      const honest = vector('managed-key-happy-path');
      expect(await verify(...honest, digestOf(readFileSync(artifact)))).toEqual({ exit: 0 });
      const other = join(dir, 'other');
      writeFileSync(other, 'other');
      expect(await verify(...honest, other)).toEqual({ exit: 1, code: 'SIGNATURE_SUBJECT_MISMATCH' });
      const digest = `sha256:${'0'.repeat(64)}`;
      expect(await verify(...honest, digest)).toEqual({ exit: 1, code: 'SIGNATURE_SUBJECT_MISMATCH' });
      expect(await verify(...honest, join(dir, 'not-there'))).toEqual({ exit: 2, code: 'CLI_FILE' });
    });
  },
);

describe('kallio bundle verify on a file that was signed', () => {
  const file = (name: string) => join(dir, name);
  const given = (bundle = 'app.sigstore.json', key = 'k.pub', root = 'root.json') => [
    ...['--bundle', file(bundle), '--key', file(key), '--trusted-root', file(root)],
  ];
  const digest = digestOf(utf8('what is released'));

  it('accepts the file, and its digest', async () => {
    expect(await verify(...given(), file('app.tar.gz'))).toEqual({ exit: 0 });
    expect(await verify(...given(), digest)).toEqual({ exit: 0 });
  });

  it('refuses other bytes, another digest, key and log', async () => {
    const refused = async (code: string, ...args: string[]) =>
      expect(await verify(...args)).toEqual({ exit: 1, code });
    writeFileSync(file('other'), 'other bytes');
    await refused('SIGNATURE_SUBJECT_MISMATCH', ...given(), file('other'));
    await refused('SIGNATURE_SUBJECT_MISMATCH', ...given(), `sha256:${'0'.repeat(64)}`);
    for (const artifact of [file('app.tar.gz'), digest]) {
      await refused('SIGNATURE_INVALID', ...given('app.sigstore.json', 'other.pub'), artifact);
      await refused('BUNDLE_LOG_UNTRUSTED', ...given('app.sigstore.json', 'k.pub', 'rekor.json'), artifact);
    }
  });

  it('refuses a signature with a bit changed, given file or digest', async () => {
    const bundle = JSON.parse(fromUtf8(readFileSync(file('app.sigstore.json'))));
    const signature = Buffer.from(bundle.messageSignature.signature, 'base64');
    signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
    bundle.messageSignature.signature = signature.toString('base64');
    writeFileSync(file('bit.json'), JSON.stringify(bundle));
    for (const artifact of [file('app.tar.gz'), digest]) {
      expect(await verify(...given('bit.json'), artifact)).toEqual({ exit: 1, code: 'SIGNATURE_INVALID' });
    }
  });

  it('refuses a bundle of 186 MB, and reads no more than it must', async () => {
    writeFileSync(file('huge.json'), readFileSync(file('app.sigstore.json')));
    truncateSync(file('huge.json'), 186_000_000);
    expect(await verify(...given('huge.json'), digest)).toEqual({ exit: 1, code: 'BUNDLE_TOO_LARGE' });
  });

  it('says of a file that is not there, and of a key that is none, that they can’t be used', async () => {
    expect(await verify(...given(), file('not-there'))).toEqual({ exit: 2, code: 'CLI_FILE' });
    expect(await verify(...given('not-there'), digest)).toEqual({ exit: 2, code: 'CLI_FILE' });
    expect(await verify(...given().slice(0, 2), ...given().slice(4), digest)).toEqual({
      exit: 2,
      code: 'USAGE',
    });
    expect(await verify(...given('app.sigstore.json', 'app.tar.gz'), digest)).toEqual({
      exit: 1,
      code: 'SIGNATURE_KEY_UNSUITABLE',
    });
  });
});
