import { makeSigned, type Signed } from '@kallio/bench/signed';
import { canonicalize, fromUtf8, parseJson, utf8 } from '@kallio/codec';
import {
  buildProvenance,
  type ImageVerdict,
  isProvenance,
  parseBundle,
  parseClaims,
  parseImagePolicy,
  parseStatement,
  parseStatementHead,
  publicKeyOfPem,
  verifyBundleWithKey,
  verifyImageSignature,
} from '@kallio/signature';
import { pemOf } from '@kallio/tlog';
import { Taken, type Target } from '../target.ts';

async function signed(folder: string): Promise<Signed> {
  const [one] = await makeSigned(`${folder}/log`, 1);
  if (one === undefined) throw new Error('there is a signed image');
  return one;
}

/** A bundle that is accepted says what the honest one says. */
export async function bundle(folder: string): Promise<Target> {
  const { bundle, digest, config, policy } = await signed(folder);
  const now = new Date();
  const verify = (given: Uint8Array) =>
    verifyImageSignature({ bundle: given, manifestDigest: digest, configBytes: config, policy, now });
  const honest = textOf(await verify(bundle));
  return {
    seeds: [bundle],
    async take(input) {
      const verdict = await verify(input);
      // The refusal as it is thrown by others: it tells places apart.
      if (!verdict.ok) parseBundle(input);
      else if (textOf(verdict) !== honest) throw new Taken('another verdict than the honest one');
    },
  };
}

/** All of a verdict. */
function textOf(verdict: ImageVerdict): string {
  return canonicalize(parseJson(JSON.stringify(verdict)));
}

/** With a key, one that is accepted is of the artifact: its entry in the log is the honest one. */
export async function managedBundle(folder: string): Promise<Target> {
  const { bundle, digest, spki, trustedRoot } = await signed(folder);
  const verify = (given: Uint8Array) =>
    verifyBundleWithKey({ bundle: given, publicKey: spki, trustedRoot, artifact: digest });
  const honest = verify(bundle);
  return {
    seeds: [bundle],
    take(input) {
      const { body, integratedTime, logIndex } = verify(input);
      if (body !== honest.body || integratedTime !== honest.integratedTime || logIndex !== honest.logIndex)
        throw new Taken('another log entry');
    },
  };
}

/** A statement. */
export async function statement(folder: string): Promise<Target> {
  const { bundle } = await signed(folder);
  return {
    seeds: [parseBundle(bundle).payload],
    take: (input) => parseStatement(parseStatementHead(input)),
  };
}

/** An image policy. */
export async function imagePolicy(folder: string): Promise<Target> {
  const { policy } = await signed(folder);
  return {
    seeds: [utf8(JSON.stringify(policy))],
    take: (input) => parseImagePolicy(parseJson(input)),
  };
}

/** A public key. */
export async function pem(folder: string): Promise<Target> {
  const { spki } = await signed(folder);
  return { seeds: [utf8(pemOf(spki))], take: (input) => publicKeyOfPem(fromUtf8(input)) };
}

/** A trusted root: whatever it is read as, only the log that signed is one of its logs. */
export async function trustedRoot(folder: string): Promise<Target> {
  const { bundle, digest, spki, trustedRoot: honest } = await signed(folder);
  return {
    seeds: [honest],
    take: (input) => verifyBundleWithKey({ bundle, publicKey: spki, trustedRoot: input, artifact: digest }),
  };
}

/** Provenance as it stands beside a signature. */
export async function provenance(folder: string): Promise<Target> {
  const { bundle } = await signed(folder);
  const { subject, image, fileManifest } = parseStatement(parseStatementHead(parseBundle(bundle).payload));
  const claims = parseClaims({ subject, image, fileManifest });
  const made = buildProvenance(claims, {
    issuer: 'https://kallio.example',
    builder: 'build-1',
    session: 'session-0000',
    startedOn: '2026-01-01T00:00:00Z',
    finishedOn: '2026-01-01T00:01:00Z',
    evidence: [subject.digest],
  });
  return { seeds: [made], take: isProvenance };
}

/** What a builder wants signed. */
export async function claims(folder: string): Promise<Target> {
  const { bundle } = await signed(folder);
  const { subject, image, fileManifest } = parseStatement(parseStatementHead(parseBundle(bundle).payload));
  return {
    seeds: [utf8(JSON.stringify({ subject, image, fileManifest }))],
    take: (input) => parseClaims(parseJson(input)),
  };
}
