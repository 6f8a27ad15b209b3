import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AppraisalPolicy, bareTpmPolicy, verifyEar } from '@kallio/appraisal';
import { canonicalDigest, type Digest, digestOf, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import { signingKeyQualifyingData } from '@kallio/evidence';
import {
  type Client,
  evidenceSubmit,
  sessionAttest,
  sessionClose,
  sessionCreate,
  sessionOpen,
  sessionShow,
  trustShow,
} from '@kallio/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const image: Digest = digestOf(utf8('an image'));
const statement: Digest = digestOf(utf8('claims'));
const program = (name: string) => sha256(utf8(`the program ${name}`));

/** A build host whose kernel measures: these programs are known, and no others. */
function measuring(): AppraisalPolicy {
  const bare = bareTpmPolicy('builders-that-measure', 'builder');
  const pcrs = Object.entries(bare.reference.pcrs ?? {}).filter(([pcr]) => pcr !== '10');
  const known = ['sh', 'buildah', 'cc'].map((name) => toHex(program(name)));
  const aggregate = toHex(sha256(new Uint8Array(10 * 32)));
  return {
    ...bare,
    reference: {
      pcrs: Object.fromEntries(pcrs),
      ima: { classes: [{ name: 'programs', digests: [...known, aggregate] }] },
    },
  };
}

const site = testSite(['one', 'two'], {
  init: (dir) => {
    writeFileSync(join(dir, 'builder.json'), JSON.stringify(measuring()));
    return { builderPolicy: join(dir, 'builder.json') };
  },
  settings: { sessions: { windowSeconds: 100, maxUnderWay: 3 } },
});
let one: TestTpm;
let two: TestTpm;
let server: TestServer;
let builder: TestAttester;
let client: Client;

beforeEach(async () => {
  ({ server } = site);
  [one, two] = [site.tpm('one'), site.tpm('two')];
  ({ builder, client } = await started(one, 'be-1'));
});

/** A build host that is enrolled, has booted, and has run its shell. */
async function started(tpm: TestTpm, name: string) {
  const made = await admitted(server, tpm, name);
  await made.measure('boot_aggregate', sha256(new Uint8Array(10 * 32)));
  await made.measure('/bin/sh', program('sh'));
  return { builder: made, client: await made.connect(server) };
}

const show = (session: string) => server.admin().call(sessionShow, { params: { session } });
const during = async (session: string, by = builder, through = client) => {
  const evidence = await by.during(through, session);
  return through.call(sessionAttest, { params: { session }, body: { evidence } });
};
const close = async (session: string, by = builder, through = client) => {
  const body = await by.closing(through, session, image, statement);
  return through.call(sessionClose, { params: { session }, body });
};
/** The session has failed, for this; what it rests on is well again, and it stays failed. */
async function hasFailed(session: string, c: string, pointer?: string) {
  const record = await show(session);
  expect(record).toMatchObject({ state: 'failed', reason: { code: c } });
  if (pointer !== undefined) expect(record.reason?.pointer).toBe(pointer);
  expect(record).not.toHaveProperty('ear');
  await expect(close(session)).rejects.toThrow(code('SESSION_NOT_OPEN'));
}

describe('between a session’s quotes', () => {
  it('every program that ran is known, and the result names all evidence', async () => {
    const session = await builder.openSession(client);
    await builder.measure('/usr/bin/buildah', program('buildah'));
    expect(await during(session)).toMatchObject({ state: 'open' });
    await builder.measure('/usr/bin/cc', program('cc'));
    const closed = await close(session);
    expect(closed).toMatchObject({ state: 'closed', evidence: { length: 3 } });
    const { issuer, jwks } = await client.call(trustShow, {});
    const claims = await verifyEar(closed.ear ?? '', { issuer, jwks }, server.now());
    expect(claims.session?.evidence).toEqual(closed.evidence);
  });

  it('an unknown program ends it, though it has long ended itself', async () => {
    const session = await builder.openSession(client);
    await builder.measure('/tmp/implant', program('implant'));
    await builder.measure('/usr/bin/buildah', program('buildah'));
    await expect(close(session)).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    await hasFailed(session, 'SESSION_PLATFORM_NOT_VERIFIED', 'ima:2');
  });

  it('an unknown program ends it there and then, when everyday evidence shows it', async () => {
    const session = await builder.openSession(client);
    await builder.measure('/tmp/implant', program('implant'));
    await client.call(evidenceSubmit, { body: await builder.attest(client) });
    await hasFailed(session, 'SESSION_PLATFORM_VIOLATED', 'ima:2');
  });

  it('an unknown program that one session shows ends the other one too', async () => {
    const [a, b] = [await builder.openSession(client), await builder.openSession(client)];
    expect(await during(a)).toMatchObject({ state: 'open' });
    expect(await show(b)).toMatchObject({ state: 'open' });
    await builder.measure('/tmp/implant', program('implant'));
    await expect(during(a)).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    await hasFailed(a, 'SESSION_PLATFORM_NOT_VERIFIED', 'ima:2');
    await hasFailed(b, 'SESSION_PLATFORM_VIOLATED', 'ima:2');
  });

  it('a violation ends it, as of what was read then nothing is known', async () => {
    const session = await builder.openSession(client);
    await builder.violate('/usr/bin/cc');
    await expect(close(session)).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    await hasFailed(session, 'SESSION_PLATFORM_NOT_VERIFIED', 'ima:2');
  });

  it('an entry that is left out of the log ends it', async () => {
    const honest = await builder.openSession(client);
    await builder.measure('/usr/bin/buildah', program('buildah'));
    expect(await close(honest)).toMatchObject({ state: 'closed' });
    const session = await builder.openSession(client);
    await builder.measure('/tmp/implant', program('implant'));
    builder.measured.pop();
    await builder.measure('/usr/bin/cc', program('cc'));
    await expect(close(session)).rejects.toMatchObject({
      code: 'SESSION_PLATFORM_NOT_VERIFIED',
      message: expect.stringContaining('IMA_MISMATCH'),
    });
    await hasFailed(session, 'SESSION_PLATFORM_NOT_VERIFIED');
  });

  it('the closing quote is not one that was made before the opening one', async () => {
    const created = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    const { session } = created;
    // Quoted for an image that was there already, while the session was still to be opened.
    const early = await builder.closing(client, session, image, statement);
    const evidence = await builder.evidence({ purpose: 'session-open', nonce: created.nonce, session });
    await client.call(sessionOpen, { params: { session }, body: { evidence } });
    const closing = client.call(sessionClose, { params: { session }, body: early });
    await expect(closing).rejects.toThrow(code('SESSION_CLOCK_WENT_BACK'));
    await hasFailed(session, 'SESSION_CLOCK_WENT_BACK');
    // The honest twin: the same, quoted afterwards.
    expect(await close(await builder.openSession(client))).toMatchObject({ state: 'closed' });
  });

  it('the TPM is not cleared', async () => {
    const session = await builder.openSession(client);
    await one.clear();
    // Under its name it is admitted again, with the AK that it has now; what it measured in this boot, it measured.
    const { measured } = builder;
    builder = await admitted(server, one, 'be-1');
    builder.measured.push(...measured);
    client = await builder.connect(server);
    await expect(close(session)).rejects.toThrow(code('SESSION_AK_CHANGED'));
    await hasFailed(session, 'SESSION_AK_CHANGED');
    // The honest twin: the same machine, enrolled anew, with a session of its own.
    const again = await builder.openSession(client);
    expect(await close(again)).toMatchObject({ state: 'closed' });
  });
});

describe('evidence in between', () => {
  it('joins the record, in order, chained, through restarts of the server', async () => {
    const session = await builder.openSession(client);
    const opened = await show(session);
    const first = await during(session);
    expect(first.evidence).toHaveLength(2);
    expect(first.head).not.toBe(opened.head);
    await server.restart();
    client = await builder.connect(server);
    expect(await show(session)).toEqual(first);
    const second = await during(session);
    expect(second.evidence.slice(0, 2)).toEqual(first.evidence);
    await server.restart();
    client = await builder.connect(server);
    const closed = await close(session);
    expect(closed.evidence.slice(0, 3)).toEqual(second.evidence);
    expect(closed.evidence).toHaveLength(4);
  });

  it('is answered the same when it is shown again, because the answer got lost', async () => {
    const session = await builder.openSession(client);
    const evidence = await builder.during(client, session);
    const call = () => client.call(sessionAttest, { params: { session }, body: { evidence } });
    const first = await call();
    expect(first.evidence.at(-1)).toBe(canonicalDigest(evidence));
    expect(await call()).toEqual(first);
  });

  it('is heard once: an earlier message is not taken again, and does no harm', async () => {
    const session = await builder.openSession(client);
    const evidence = await builder.during(client, session);
    const shown = () => client.call(sessionAttest, { params: { session }, body: { evidence } });
    expect(await shown()).toMatchObject({ state: 'open', evidence: { length: 2 } });
    const after = await during(session);
    await expect(shown()).rejects.toThrow(code('NONCE_SPENT'));
    expect(await show(session)).toEqual(after);
    expect(await close(session)).toMatchObject({ state: 'closed', evidence: { length: 4 } });
  });

  it('that goes on from where the server is not is asked for again, as the closing evidence is', async () => {
    const session = await builder.openSession(client);
    const position = async (
      call: (nonce: string) => Promise<unknown>,
      purpose: 'session-attest' | 'session-close',
    ) => {
      const nonce = await builder.nonce(client, purpose, session);
      const before = builder.imaFrom;
      await builder.measure('/usr/bin/cc', program('cc'));
      // As after the server was restored from a backup: what it has not seen is taken to be there.
      builder.imaFrom = before + 1;
      await expect(call(nonce)).rejects.toThrow(code('EVIDENCE_POSITION'));
      expect(await show(session)).toMatchObject({ state: 'open' });
    };
    await position(async (nonce) => {
      const evidence = await builder.evidence({ purpose: 'session-attest', nonce, session });
      return client.call(sessionAttest, { params: { session }, body: { evidence } });
    }, 'session-attest');
    // Another nonce says from where.
    expect(await during(session)).toMatchObject({ state: 'open', evidence: { length: 2 } });
    await position(async (nonce) => {
      const made = await one.certifySigningKey(signingKeyQualifyingData({ session, nonce }));
      const signingKey = digestOf(one.signingPublic);
      const about = { session, subject: image, statement, signingKey };
      const evidence = await builder.evidence({ purpose: 'session-close', nonce, ...about });
      const certification = { attest: toBase64(made.attest), signature: toBase64(made.signature) };
      const key = { public: toBase64(one.signingPublic), certification };
      const body = { subject: image, statement, signingKey: key, evidence };
      return client.call(sessionClose, { params: { session }, body });
    }, 'session-close');
    expect(await close(session)).toMatchObject({ state: 'closed', evidence: { length: 3 } });
  });

  it('is of this session, not of another that is open beside it', async () => {
    const [a, b] = [await builder.openSession(client), await builder.openSession(client)];
    const forA = await builder.during(client, a);
    const toB = client.call(sessionAttest, { params: { session: b }, body: { evidence: forA } });
    await expect(toB).rejects.toThrow(code('NONCE_UNKNOWN'));
    // With a nonce of b, but a quote that is bound to a.
    const nonce = await builder.nonce(client, 'session-attest', b);
    const bound = await builder.evidence({ purpose: 'session-attest', nonce, session: a });
    const forged = client.call(sessionAttest, { params: { session: b }, body: { evidence: bound } });
    await expect(forged).rejects.toThrow(code('SESSION_EVIDENCE_REFUSED'));
    expect(await show(b)).toMatchObject({ state: 'failed' });
    // What was done to b is not done to a.
    expect(await during(a)).toMatchObject({ state: 'open' });
    expect(await close(a)).toMatchObject({ state: 'closed', evidence: { length: 3 } });
  });

  it('is of this build host', async () => {
    const session = await builder.openSession(client);
    const { builder: stranger, client: theirs } = await started(two, 'be-2');
    const evidence = await builder.during(client, session);
    const others = theirs.call(sessionAttest, { params: { session }, body: { evidence } });
    await expect(others).rejects.toThrow(code('SESSION_OTHER_ATTESTER'));
    const opening = theirs.call(sessionOpen, { params: { session }, body: { evidence } });
    await expect(opening).rejects.toThrow(code('SESSION_OTHER_ATTESTER'));
    // None of this spoils it.
    expect(await during(session)).toMatchObject({ state: 'open' });
    const nonce = await builder.nonce(client, 'session-attest', session);
    const { quote } = await stranger.evidence({ purpose: 'session-attest', nonce, session });
    const honest = await builder.evidence({ purpose: 'session-attest', nonce, session });
    const swapped = client.call(sessionAttest, {
      params: { session },
      body: { evidence: { ...honest, quote } },
    });
    await expect(swapped).rejects.toThrow(code('SESSION_EVIDENCE_REFUSED'));
    await hasFailed(session, 'SESSION_EVIDENCE_REFUSED');
  });

  it('ends a session whose host was rebooted, or runs something unknown', async () => {
    const session = await builder.openSession(client);
    expect(await during(session)).toMatchObject({ state: 'open' });
    await builder.measure('/tmp/implant', program('implant'));
    await expect(during(session)).rejects.toThrow(code('SESSION_PLATFORM_NOT_VERIFIED'));
    await hasFailed(session, 'SESSION_PLATFORM_NOT_VERIFIED', 'ima:2');

    await builder.reboot();
    await builder.measure('boot_aggregate', sha256(new Uint8Array(10 * 32)));
    const again = await builder.openSession(client);
    await builder.reboot();
    await builder.measure('boot_aggregate', sha256(new Uint8Array(10 * 32)));
    await expect(during(again)).rejects.toThrow(code('SESSION_REBOOTED'));
    await hasFailed(again, 'SESSION_REBOOTED');
  });

  it('is shown while the session is open, within its window, and no more than a statement can name', async () => {
    const { session: opening } = await client.call(sessionCreate, { body: { purpose: 'image-build' } });
    await expect(during(opening)).rejects.toThrow(code('SESSION_NOT_OPEN'));
    const session = await builder.openSession(client);
    for (let shown = 1; shown < 63; shown++) await during(session);
    await expect(during(session)).rejects.toThrow(code('SESSION_EVIDENCE_FULL'));
    const closed = await close(session);
    expect(closed).toMatchObject({ state: 'closed', evidence: { length: 64 } });
    await expect(during(session)).rejects.toThrow(code('SESSION_NOT_OPEN'));
    const late = await builder.openSession(client);
    const evidence = await builder.during(client, late);
    server.advance(100);
    const shown = client.call(sessionAttest, { params: { session: late }, body: { evidence } });
    await expect(shown).rejects.toThrow(code('SESSION_EXPIRED'));
  });

  it('is no closing evidence, nor the other way round', async () => {
    const session = await builder.openSession(client);
    const body = await builder.closing(client, session, image, statement);
    const closing = client.call(sessionAttest, { params: { session }, body: { evidence: body.evidence } });
    await expect(closing).rejects.toThrow(code('EVIDENCE_WRONG_PURPOSE'));
    expect(await show(session)).toMatchObject({
      state: 'failed',
      reason: { code: 'EVIDENCE_WRONG_PURPOSE' },
    });
    const other = await builder.openSession(client);
    const again = await builder.during(client, other);
    const honest = await builder.closing(client, other, image, statement);
    const attested = client.call(sessionClose, {
      params: { session: other },
      body: { ...honest, evidence: again },
    });
    // The key was certified for the nonce of the closing evidence.
    await expect(attested).rejects.toThrow(code('SIGNING_KEY_NOT_CERTIFIED'));
    await hasFailed(other, 'SIGNING_KEY_NOT_CERTIFIED');
    // And with a key that was certified for the nonce of what is shown in its place.
    const third = await builder.openSession(client);
    const shown = await builder.during(client, third);
    const made = await one.certifySigningKey(
      signingKeyQualifyingData({ session: third, nonce: shown.nonce }),
    );
    const certification = { attest: toBase64(made.attest), signature: toBase64(made.signature) };
    const passed = client.call(sessionClose, {
      params: { session: third },
      body: { ...honest, signingKey: { ...honest.signingKey, certification }, evidence: shown },
    });
    await expect(passed).rejects.toThrow(code('EVIDENCE_WRONG_PURPOSE'));
    await hasFailed(third, 'EVIDENCE_WRONG_PURPOSE');
    // The honest twin: the same session's, each for what it is.
    const twin = await builder.openSession(client);
    expect(await during(twin)).toMatchObject({ state: 'open' });
    expect(await close(twin)).toMatchObject({ state: 'closed' });
  });
});
