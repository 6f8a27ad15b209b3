import { canonicalBytes, canonicalDigest, type Digest, digestOf, toBase64, toHex, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { type Client, sessionCreate, sessionOpen } from '@kallio/protocol';
import { type AcceptedImage, verifyBuildEvidence } from '@kallio/signature';
import { parsePublic, publicKeyOf, signingPolicyOf } from '@kallio/tpm/structures';
import { beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

/*
 * What whoever runs an image can verify of a build's raw evidence without asking the server: here with a result that names
 * whatever evidence is shown, as a server that lies would sign it.
 */

const code = (c: string) => expect.objectContaining({ code: c });
const subject: Digest = digestOf(utf8('an image'));
const statement: Digest = digestOf(utf8('claims'));

const site = testSite(['one', 'two']);
let one: TestTpm;
let two: TestTpm;
let server: TestServer;
let builder: TestAttester;
let client: Client;

beforeEach(async () => {
  ({ server } = site);
  [one, two] = [site.tpm('one'), site.tpm('two')];
  builder = await admitted(server, one, 'be-1');
  client = await builder.connect(server);
});

/** What a build shows: its messages, opening first, and what was certified with the last. */
interface Shown {
  readonly session: string;
  readonly messages: readonly EvidenceMessage[];
  readonly closing: Awaited<ReturnType<TestAttester['closing']>>;
}

async function opened(): Promise<{ session: string; opening: EvidenceMessage }> {
  const { session, nonce } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
  const opening = await builder.evidence({ purpose: 'session-open', nonce, session });
  await client.call(sessionOpen, { params: { session }, body: { evidence: opening } });
  return { session, opening };
}

async function build(meanwhile: () => Promise<void> = async () => undefined): Promise<Shown> {
  const { session, opening } = await opened();
  const during = await builder.during(client, session);
  await meanwhile();
  const closing = await builder.closing(client, session, subject, statement);
  return { session, messages: [opening, during, closing.evidence], closing };
}

/** An image that was accepted with a result which names this evidence. */
function accepted({ session, messages, closing }: Shown, tpm = one): AcceptedImage {
  const spki = publicKeyOf(parsePublic(tpm.signingPublic)).export({ format: 'der', type: 'spki' });
  const evidence = messages.map((message) => canonicalDigest(message));
  return {
    ok: true,
    steps: [],
    claims: {
      subject: { name: 'registry.test/app', digest: subject },
      image: { index: [] },
      fileManifest: { digest: digestOf(utf8('files')), files: 0 },
    },
    statement,
    environment: {
      session,
      builder: 'be-1',
      tier: 'C',
      boot: 1,
      ear: 'a.b.c',
      akCertification: {
        ak: toBase64(one.akPublic),
        key: closing.signingKey.public,
        certification: closing.signingKey.certification,
      },
      evidence,
    },
    session,
    builder: 'be-1',
    tier: 'C',
    fileManifestDigest: digestOf(utf8('files')),
    signingKey: digestOf(new Uint8Array(spki)),
    signingKeySpki: new Uint8Array(spki),
    signingPolicy: undefined,
    logIndex: 1,
    integratedTime: 1,
    evidence,
  };
}

const judge = (shown: Shown, changes: Partial<AcceptedImage> = {}) =>
  verifyBuildEvidence(canonicalBytes(shown.messages), { ...accepted(shown), ...changes });

describe('raw evidence of a build', () => {
  it('is of one AK, one session, one boot, in order, and says how long it took', async () => {
    const shown = await build();
    const found = judge(shown);
    expect(found).toMatchObject({ messages: 3 });
    expect(found.milliseconds).toBeGreaterThan(0);
  });

  it('is refused when it is not what the result names, more of it, or less', async () => {
    const shown = await build();
    const { messages } = shown;
    const image = accepted(shown);
    for (const others of [messages.slice(1), [...messages, ...messages.slice(-1)], messages.toReversed()]) {
      expect(() => verifyBuildEvidence(canonicalBytes(others), image)).toThrow(code('BUILD_EVIDENCE_DIGEST'));
    }
    for (const nonsense of ['[]', '{}', '[{},{}]']) {
      expect(() => verifyBuildEvidence(utf8(nonsense), image)).toThrow(code('BUILD_EVIDENCE_SHAPE'));
    }
  });

  it('is refused in another order, or without its opening', async () => {
    const shown = await build();
    const [opening, during, closing] = shown.messages;
    if (opening === undefined || during === undefined || closing === undefined) throw new Error('three');
    const of = (...messages: EvidenceMessage[]) => judge({ ...shown, messages });
    expect(of(opening, closing)).toMatchObject({ messages: 2 });
    expect(() => of(during, opening, closing)).toThrow(code('BUILD_EVIDENCE_PURPOSE'));
    expect(() => of(during, closing)).toThrow(code('BUILD_EVIDENCE_PURPOSE'));
    expect(() => of(opening, during)).toThrow(code('BUILD_EVIDENCE_PURPOSE'));
    expect(() => of(opening, opening, closing)).toThrow(code('BUILD_EVIDENCE_PURPOSE'));
  });

  it('is refused where the result says that another policy governs the key than the one that was certified', async () => {
    const operator = (fill: number) =>
      signingPolicyOf(Buffer.concat([Uint8Array.of(0, 0x0b), new Uint8Array(32).fill(fill)]));
    const open = await build();
    const said = { signingPolicy: toHex(operator(1)) };
    expect(() => judge(open, said)).toThrow(code('SIGNING_KEY_NOT_CERTIFIED'));
    expect(judge(open)).toMatchObject({ messages: 3 });
    one.signingPolicy = operator(1);
    try {
      await one.reboot();
      builder = await admitted(server, one, 'be-1');
      client = await builder.connect(server);
      const governed = await build();
      expect(judge(governed, said)).toMatchObject({ messages: 3 });
      expect(() => judge(governed, { signingPolicy: toHex(operator(2)) })).toThrow(
        code('SIGNING_KEY_NOT_CERTIFIED'),
      );
    } finally {
      one.signingPolicy = undefined;
      await one.reboot();
    }
  });

  it('is refused when the machine was restarted in between, or quoted the end before the beginning', async () => {
    const rebooted = await build(() => builder.reboot());
    expect(() => judge(rebooted)).toThrow(code('BUILD_EVIDENCE_BOOT'));
    builder = await admitted(server, one, 'be-1');
    client = await builder.connect(server);
    const { session, nonce } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    const closing = await builder.closing(client, session, subject, statement);
    const opening = await builder.evidence({ purpose: 'session-open', nonce, session });
    const backwards = { session, messages: [opening, closing.evidence], closing };
    expect(() => judge(backwards)).toThrow(code('BUILD_EVIDENCE_BOOT'));
    expect(judge(await build())).toMatchObject({ messages: 3 });
  });

  it('is refused for another session, image, claims, key or AK', async () => {
    const shown = await build();
    const other = await build();
    const [, during] = other.messages;
    const [opening, , closing] = shown.messages;
    if (opening === undefined || during === undefined || closing === undefined) throw new Error('three');
    expect(judge(shown)).toMatchObject({ messages: 3 });
    const bound = code('QUOTE_BINDING');
    expect(() => judge({ ...shown, messages: [opening, during, closing] })).toThrow(bound);
    const elsewhere = digestOf(utf8('another image'));
    const { claims } = accepted(shown);
    const moved = { claims: { ...claims, subject: { ...claims.subject, digest: elsewhere } } };
    expect(() => judge(shown, moved)).toThrow(bound);
    expect(() => judge(shown, { statement: elsewhere })).toThrow(bound);
    expect(() => judge(shown, { builder: 'be-2' })).toThrow(bound);
    expect(() => judge(shown, { signingKey: elsewhere })).toThrow(code('SIGNING_KEY_NOT_CERTIFIED'));
    const { environment } = accepted(shown);
    const foreign = { ...environment.akCertification, ak: toBase64(two.akPublic) };
    expect(() => judge(shown, { environment: { ...environment, akCertification: foreign } })).toThrow(
      code('QUOTE_SIGNATURE'),
    );
    // The signing key in the AK's place: it would sign any quote that it is given.
    const unrestricted = { ...environment.akCertification, ak: environment.akCertification.key };
    expect(() => judge(shown, { environment: { ...environment, akCertification: unrestricted } })).toThrow(
      code('TPM_KEY_RESTRICTION'),
    );
  });
});
