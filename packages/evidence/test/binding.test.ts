import { canonicalize, type Digest, digestOf, toBase64, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Binding, partsOf, qualifyingData } from '../src/index.ts';
import { honestMessage } from './support/message.ts';
import { outcome } from './support/refusal.ts';

const digest = (name: string): Digest => digestOf(utf8(name));

const arbitraryDigest = fc.constantFrom(...['a', 'b', 'c'].map(digest));
const arbitraryParts = fc.record(
  {
    eventLog: arbitraryDigest,
    ima: fc.record({ from: fc.nat(3), digest: arbitraryDigest }),
    instanceLog: arbitraryDigest,
    inventory: arbitraryDigest,
  },
  { requiredKeys: ['instanceLog', 'inventory'] },
);
const arbitraryBinding: fc.Arbitrary<Binding> = fc.record(
  {
    purpose: fc.constantFrom('transport-key', 'attest', 'session-open', 'session-close'),
    attester: fc.constantFrom('device-1', 'device-2'),
    nonce: fc.constantFrom('00'.repeat(32), '01'.repeat(32)),
    parts: arbitraryParts,
    session: fc.constantFrom('session-1', 'session-2'),
    subject: arbitraryDigest,
    statement: arbitraryDigest,
    signingKey: arbitraryDigest,
    tlsKey: arbitraryDigest,
  },
  { requiredKeys: ['purpose', 'attester', 'nonce', 'parts'] },
);

const bound = (binding: Binding) => toHex(qualifyingData(binding));

describe('what a quote is bound to', () => {
  test('is digested as the format says', () => {
    // By hand: printf 'kallio-evidence-v1\0{"attester":"device-1",…,"purpose":"attest"}' | sha256sum
    const parts = {
      instanceLog: `sha256:${'01'.repeat(32)}`,
      inventory: `sha256:${'02'.repeat(32)}`,
    } as const;
    expect(bound({ purpose: 'attest', attester: 'device-1', nonce: '0a'.repeat(32), parts })).toBe(
      '1eec98b4ea25f37b7add8194b5b8f7c2a764930b110d1f8cec6f0e075f3ebe8b',
    );
  });

  // Each is a field that an attacker would exchange: evidence of another purpose, another machine, an old nonce, another
  // session, image, statement or key, or other logs than those that were quoted.
  const changes: readonly [field: string, change: (binding: Binding) => Binding][] = [
    ['purpose', (b) => ({ ...b, purpose: b.purpose === 'attest' ? 'session-open' : 'attest' })],
    ['attester', (b) => ({ ...b, attester: `${b.attester}0` })],
    ['nonce', (b) => ({ ...b, nonce: b.nonce.replace(/^0/, '1') })],
    ['session', (b) => ({ ...b, session: `${b.session ?? ''}0` })],
    ['subject', (b) => ({ ...b, subject: digest('another') })],
    ['statement', (b) => ({ ...b, statement: digest('another') })],
    ['signing key', (b) => ({ ...b, signingKey: digest('another') })],
    ['TLS key', (b) => ({ ...b, tlsKey: digest('another') })],
    ['event log', (b) => ({ ...b, parts: { ...b.parts, eventLog: digest('another') } })],
    [
      'IMA log',
      (b) => ({
        ...b,
        parts: { ...b.parts, ima: { from: b.parts.ima?.from ?? 0, digest: digest('another') } },
      }),
    ],
    [
      'start of the IMA log',
      (b) => ({
        ...b,
        parts: {
          ...b.parts,
          ima: { from: (b.parts.ima?.from ?? 0) + 1, digest: b.parts.ima?.digest ?? digest('a') },
        },
      }),
    ],
    ['instance log', (b) => ({ ...b, parts: { ...b.parts, instanceLog: digest('another') } })],
    ['inventory', (b) => ({ ...b, parts: { ...b.parts, inventory: digest('another') } })],
  ];
  test.each(changes)('changes with the %s', (_, change) => {
    fc.assert(
      fc.property(arbitraryBinding, (binding) => {
        expect(bound(change(binding))).not.toBe(bound(binding));
      }),
      { numRuns: 100 },
    );
  });

  test('changes when a field is left out', () => {
    // Stops evidence for a session from serving where none is asked for, and the other way round.
    fc.assert(
      fc.property(arbitraryBinding, (binding) => {
        for (const field of ['session', 'subject', 'statement', 'signingKey', 'tlsKey'] as const) {
          const { [field]: left, ...rest } = binding;
          expect(bound(rest) === bound(binding)).toBe(left === undefined);
        }
        const { eventLog, ...parts } = binding.parts;
        expect(bound({ ...binding, parts }) === bound(binding)).toBe(eventLog === undefined);
      }),
      { numRuns: 100 },
    );
  });

  test('is the same for two bindings only if they are the same', () => {
    // Stops a value from passing from one field to the next: session for subject, key for key.
    fc.assert(
      fc.property(arbitraryBinding, arbitraryBinding, (a, b) => {
        expect(bound(a) === bound(b)).toBe(canonicalize(a) === canonicalize(b));
      }),
      { numRuns: 500 },
    );
    const base: Binding = {
      purpose: 'attest',
      attester: 'a',
      nonce: '00'.repeat(32),
      parts: partsOf(honestMessage()),
    };
    const one = digest('one');
    const moved: Binding[] = [
      base,
      { ...base, session: one },
      { ...base, subject: one },
      { ...base, statement: one },
      { ...base, signingKey: one },
      { ...base, tlsKey: one },
    ];
    expect(new Set(moved.map(bound)).size).toBe(moved.length);
  });

  test('does not depend on the order in which fields were written', () => {
    fc.assert(
      fc.property(arbitraryBinding, (binding) => {
        const reversed = Object.fromEntries(Object.entries(binding).reverse());
        expect(bound({ ...binding, ...reversed })).toBe(bound(binding));
        expect(toHex(qualifyingData(Object.assign({}, reversed, binding)))).toBe(bound(binding));
      }),
      { numRuns: 50 },
    );
  });
});

describe('the parts of a message', () => {
  const message = honestMessage();
  const text = (change: Partial<typeof message>) => canonicalize(partsOf({ ...message, ...change }));
  const honest = text({});
  const [entry] = message.instanceLog.entries;
  if (entry === undefined || message.ima === undefined) throw new Error('a whole message');
  const { ima, instanceLog, inventory } = message;

  // Stops a part from being exchanged after the quote was made, on its way or by the machine itself.
  const changes: readonly [string, Partial<typeof message>][] = [
    ['another event log', { eventLog: toBase64(utf8('another')) }],
    ['an empty event log', { eventLog: '' }],
    ['another IMA log', { ima: { ...ima, entries: toBase64(utf8('another')) } }],
    ['an empty IMA log', { ima: { ...ima, entries: '' } }],
    ['an IMA log from elsewhere', { ima: { ...ima, from: ima.from + 1 } }],
    ['an instance log from elsewhere', { instanceLog: { ...instanceLog, from: instanceLog.from + 1 } }],
    ['no instance', { instanceLog: { ...instanceLog, entries: [] } }],
    ['an instance twice', { instanceLog: { ...instanceLog, entries: [entry, entry] } }],
    ['another salt', { instanceLog: { ...instanceLog, entries: [{ ...entry, salt: '00'.repeat(32) }] } }],
    ['another scope', { inventory: { ...inventory, scope: '/elsewhere' } }],
    ['no running container', { inventory: { ...inventory, containers: [] } }],
    ['no changed file', { inventory: { ...inventory, changed: [] } }],
  ];
  test.each(changes)('are others with %s', (_, change) => {
    expect(text({})).toBe(honest);
    expect(text(change)).not.toBe(honest);
  });

  test('are others without event log, or without IMA log', () => {
    // Stops a machine that measures from passing as one that can't, where that is let pass.
    const { eventLog: _, ...withoutEventLog } = message;
    const { ima: __, ...withoutIma } = message;
    const all = [partsOf(message), partsOf(withoutEventLog), partsOf(withoutIma)].map((parts) =>
      canonicalize(parts),
    );
    expect(new Set(all).size).toBe(3);
  });

  test('are refused in base64 of a second spelling', () => {
    // Stops two texts from having one digest.
    for (const eventLog of ['QQ=', 'QR==', 'Q Q==', 'QQ', 'Q\nQ==', 'Q_==']) {
      expect(outcome(() => partsOf({ ...message, eventLog }))).toEqual({ code: 'CODEC_BASE64' });
      expect(outcome(() => partsOf({ ...message, ima: { from: 0, entries: eventLog } }))).toEqual({
        code: 'CODEC_BASE64',
      });
    }
    expect(partsOf({ ...message, eventLog: 'QQ==' }).eventLog).toBe(digestOf(utf8('A')));
  });
});
