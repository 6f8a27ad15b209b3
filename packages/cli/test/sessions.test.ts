import { generateKeyPairSync } from 'node:crypto';
import { issueEar, type SessionClaims } from '@kallio/appraisal';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import { firstHead, nextHead, type SessionEvent, type SessionRecord } from '@kallio/protocol';
import { describe, expect, it } from 'vitest';
import { checkSession } from '../src/sessions/record.ts';

const broken = expect.objectContaining({ code: 'SESSION_RECORD_BROKEN' });
const of = (name: string): Digest => digestOf(utf8(name));
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const trust = {
  issuer: 'https://kallio.example',
  jwks: { keys: [{ ...key.publicKey.export({ format: 'jwk' }), kid: 'result-key-1' }] },
};
const at = Date.UTC(2030, 0, 1);
const opening = { resetCount: 7, restartCount: 0, clock: '100', ak: '000b' };
const policy = { id: 'builders-1', digest: of('policy') };
const closing = { subject: of('image'), statement: of('statement'), signingKey: of('key') };

function headOf(events: readonly SessionEvent[]): Digest {
  return events.reduce(nextHead, firstHead('session-0001'));
}

const events: readonly SessionEvent[] = [
  { event: 'created', at, attester: 'build-1', expiresAt: at + 1000, policy },
  { event: 'opened', at, evidence: of('first'), opening, policy },
  { event: 'closed', at, evidence: of('second'), policy, ...closing },
];

function claims(changes: Partial<SessionClaims> = {}): SessionClaims {
  return {
    session: 'session-0001',
    ...closing,
    evidence: [of('first'), of('second')],
    builder: 'build-1',
    tier: 'C',
    boot: 7,
    policy: policy.digest,
    head: headOf(events),
    ...changes,
  };
}

/** The result of a session, as a server signs it. */
function signedResult(session: SessionClaims): string {
  const { builder, tier, boot } = session;
  return issueEar({
    issuer: trust.issuer,
    attester: builder,
    appraisal: {
      authentic: true,
      platform: { state: 'VERIFIED', tier, refusals: [], limits: [] },
      instances: new Map(),
      next: undefined,
      boot: { clock: 1n, resetCount: boot, restartCount: 0, safe: true, firmwareVersion: 1n },
      evidence: utf8('second'),
      evidenceDigest: of('second'),
      appraisedAt: new Date(at),
    },
    policyId: policy.id,
    issuedAt: new Date(at),
    ttlSeconds: 600,
    key: key.privateKey,
    keyId: 'result-key-1',
    session,
  });
}

function record(changes: Partial<SessionRecord> = {}, signed = claims()): SessionRecord {
  const time = new Date(at).toISOString();
  const { subject, statement } = closing;
  return {
    session: 'session-0001',
    attester: 'build-1',
    purpose: 'image-build',
    state: 'closed',
    policy,
    createdAt: time,
    expiresAt: time,
    closedAt: time,
    subject,
    statement,
    evidence: [of('first'), of('second')],
    head: headOf(events),
    ear: signedResult(signed),
    ...changes,
  };
}

describe('a session that a server shows', () => {
  it('is what its events and its signed result say, also long after the result has lapsed', async () => {
    expect(await checkSession(record(), events, trust)).toMatchObject({ result: 'names-them' });
    const { ear: _, closedAt: __, subject: ___, statement: ____, ...opened } = record();
    const some = events.slice(0, 2);
    const open: SessionRecord = { ...opened, state: 'open', evidence: [of('first')], head: headOf(some) };
    expect(await checkSession(open, some, trust)).toMatchObject({ result: 'none' });
  });

  it('is refused when an event, or the record, is another', async () => {
    await expect(checkSession(record({ subject: of('another') }), events, trust)).rejects.toThrow(broken);
    await expect(checkSession(record({ state: 'failed' }), events, trust)).rejects.toThrow(broken);
    await expect(checkSession(record(), events.slice(0, 2), trust)).rejects.toThrow(broken);
    const [created, opened, closed] = events;
    if (created === undefined || opened === undefined || closed === undefined) throw new Error('three');
    await expect(checkSession(record(), [opened, created, closed], trust)).rejects.toThrow(broken);
  });

  it('is refused when record and events were both altered: the signed result names the head', async () => {
    const forged = events.map((event) => ({ ...event, at: event.at - 1 }));
    const whole = record({ head: headOf(forged) });
    await expect(checkSession(whole, forged, trust)).rejects.toThrow(/names another head/);
    // The honest twin: a result that names that head.
    const honest = record({ head: headOf(forged) }, claims({ head: headOf(forged) }));
    expect(await checkSession(honest, forged, trust)).toMatchObject({ result: 'names-them' });
  });

  it('is refused with the result of another session, image, or policy, or with one that was altered', async () => {
    for (const other of [
      { session: 'session-0002' },
      { subject: of('another') },
      { statement: of('another') },
      { evidence: [of('first')] },
      { policy: of('another') },
    ]) {
      const [field = ''] = Object.keys(other);
      await expect(checkSession(record({}, claims(other)), events, trust)).rejects.toThrow(
        `names another ${field}`,
      );
    }
    const { ear = '' } = record();
    const [head, payload, signature = ''] = ear.split('.');
    const altered = `${head}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    await expect(checkSession(record({ ear: altered }), events, trust)).rejects.toThrow(/EAR_SIGNATURE/);
  });

  it('says so when its result is of a server that named no head, or of a key that is no more published', async () => {
    const { head: _, policy: __, ...old } = claims();
    expect(await checkSession(record({}, old), events, trust)).toMatchObject({ result: 'older' });
    const gone = { ...trust, jwks: { keys: [] } };
    expect(await checkSession(record(), events, gone)).toMatchObject({ result: 'key-unknown' });
  });
});
