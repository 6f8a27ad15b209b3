import { createHash } from 'node:crypto';
import { concat, toHex, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { type EvidenceCode, eventDataIsMeasured, parseEventLog, replayEventLog } from '../src/index.ts';
import { at, u32le } from './support/bytes.ts';
import {
  agileEvent,
  EV_NO_ACTION,
  EV_S_CRTM_VERSION,
  header,
  locality,
  sha1Event,
} from './support/event-log.ts';
import { code } from './support/refusal.ts';

// Logs as an attacker writes them, each next to the log without the flaw.

const AGILE = ['sha1', 'sha256'] as const;
const EVENT = { pcr: 4 };
const DIGESTS = [
  ['sha1', 1],
  ['sha256', 2],
] as const;
const HONEST = concat(header(AGILE), agileEvent(EVENT, DIGESTS));

/** PCR after these digests, by a reference of its own. */
function chain(bank: 'sha1' | 'sha256' | 'sha384', start: Uint8Array, ...digests: Uint8Array[]): string {
  let value = start;
  for (const digest of digests)
    value = new Uint8Array(createHash(bank).update(value).update(digest).digest());
  return toHex(value);
}

function pcr(log: Uint8Array, bank: 'sha1' | 'sha256' | 'sha384', index: number): string | undefined {
  const value = replayEventLog(parseEventLog(log), bank).get(index);
  return value === undefined ? undefined : toHex(value);
}

describe('a crypto-agile log', () => {
  test('has a digest of each bank, in any order', () => {
    const mixed = concat(HONEST, agileEvent(EVENT, DIGESTS.toReversed()));
    expect(parseEventLog(mixed)).toMatchObject({ format: 'crypto-agile', banks: ['sha1', 'sha256'] });
    const sha1 = new Uint8Array(20).fill(1);
    const sha256 = new Uint8Array(32).fill(2);
    expect(pcr(mixed, 'sha1', 4)).toBe(chain('sha1', new Uint8Array(20), sha1, sha1));
    expect(pcr(mixed, 'sha256', 4)).toBe(chain('sha256', new Uint8Array(32), sha256, sha256));
    expect(() => pcr(mixed, 'sha384', 4)).toThrow(code('EVENTLOG_BANK'));
  });

  test('may have a bank that is not known here: its digests are stepped over by their size', () => {
    // SM3-256. Stops such a log from being read at shifted places, or from being refused on machines that have the bank.
    const sm3 = [0x0012, 32] as const;
    const log = concat(
      header(['sha256', sm3]),
      agileEvent(EVENT, [
        [sm3, 9],
        ['sha256', 2],
      ]),
    );
    expect(parseEventLog(log).banks).toEqual(['sha256']);
    expect(pcr(log, 'sha256', 4)).toBe(chain('sha256', new Uint8Array(32), new Uint8Array(32).fill(2)));
  });

  test('may have a header with the vendor’s information', () => {
    const log = concat(header(AGILE, { vendor: Uint8Array.of(3, 7, 7, 7) }), agileEvent(EVENT, DIGESTS));
    expect(parseEventLog(log).events).toHaveLength(1);
  });

  const headers: readonly [string, EvidenceCode, Uint8Array][] = [
    // Stops a log in which no event has a digest, so that every replay holds.
    ['names no algorithm', 'EVENTLOG_ALGORITHM', header([])],
    // Stops a count that makes the reader allocate and loop.
    ['names too many algorithms', 'EVENTLOG_ALGORITHM', header(new Array(17).fill('sha256'))],
    ['says a count past its end', 'EVENTLOG_ALGORITHM', header(AGILE, { count: 0xffff_ffff })],
    ['says one algorithm more than it names', 'EVENTLOG_MALFORMED', header(AGILE, { count: 3 })],
    ['says one algorithm less than it names', 'EVENTLOG_MALFORMED', header(AGILE, { count: 1 })],
    // Stops two readers from finding the digests at different places: one by the header's size, one by the algorithm's.
    ['gives SHA-256 another size', 'EVENTLOG_ALGORITHM', header(['sha1', [0x000b, 20]])],
    ['gives SHA-1 another size', 'EVENTLOG_ALGORITHM', header([[0x0004, 32], 'sha256'])],
    ['gives an unknown algorithm no size', 'EVENTLOG_ALGORITHM', header(['sha256', [0x0012, 0]])],
    ['gives an unknown algorithm a vast size', 'EVENTLOG_ALGORITHM', header(['sha256', [0x0012, 0xffff]])],
    // Stops an event with two SHA-256 digests, of which the reader judges the one and replays the other.
    ['names an algorithm twice', 'EVENTLOG_ALGORITHM', header(['sha256', 'sha256'])],
    // Stops bytes that nobody reads inside the header.
    ['has bytes after its end', 'EVENTLOG_MALFORMED', header(AGILE, { vendor: Uint8Array.of(0, 0) })],
    [
      'says more of the vendor than it has',
      'EVENTLOG_MALFORMED',
      header(AGILE, { vendor: Uint8Array.of(9) }),
    ],
    ['ends before the vendor', 'EVENTLOG_MALFORMED', header(AGILE, { vendor: new Uint8Array() })],
  ];
  test.each(headers)('is refused when its header %s', (_, expected, bytes) => {
    parseEventLog(HONEST);
    expect(() => parseEventLog(concat(bytes, agileEvent(EVENT, DIGESTS)))).toThrow(code(expected, 'event:0'));
  });

  const one = DIGESTS.slice(0, 1);
  const events: readonly [string, EvidenceCode, Uint8Array][] = [
    // Stops an event without the digest of the bank that is replayed: it would be in the log and in no PCR.
    ['has no digest', 'EVENTLOG_ALGORITHM', agileEvent(EVENT, [])],
    ['lacks a digest', 'EVENTLOG_ALGORITHM', agileEvent(EVENT, one)],
    ['has a digest too many', 'EVENTLOG_ALGORITHM', agileEvent(EVENT, [...DIGESTS, ['sha384', 3]])],
    ['says a vast number of digests', 'EVENTLOG_ALGORITHM', agileEvent(EVENT, DIGESTS, 0xffff_ffff)],
    // Stops a second digest of a bank from replacing the first after it was judged.
    [
      'has two digests of one bank',
      'EVENTLOG_ALGORITHM',
      agileEvent(EVENT, [
        ['sha256', 2],
        ['sha256', 3],
      ]),
    ],
    [
      'has a digest of a bank that the header does not name',
      'EVENTLOG_ALGORITHM',
      agileEvent(EVENT, [
        ['sha1', 1],
        ['sha384', 2],
      ]),
    ],
    // Stops an extension of a PCR that no TPM has, and that no quote covers.
    ['is of PCR 24', 'EVENTLOG_MALFORMED', agileEvent({ pcr: 24 }, DIGESTS)],
    ['is of PCR 2^32 - 1', 'EVENTLOG_MALFORMED', agileEvent({ pcr: 0xffff_ffff }, DIGESTS)],
    // Stops a length that reaches past the end, and one that would be negative where lengths are signed.
    ['says a byte of data too many', 'EVENTLOG_MALFORMED', withDataSize(1)],
    ['says 2^31 bytes of data', 'EVENTLOG_MALFORMED', withDataSize(0x8000_0000)],
    ['says 2^32 - 1 bytes of data', 'EVENTLOG_MALFORMED', withDataSize(0xffff_ffff)],
    // Stops an event of the old form from being taken for one of the new.
    ['is in the old form', 'EVENTLOG_ALGORITHM', sha1Event(EVENT)],
  ];
  test.each(events)('is refused when an event %s', (_, expected, bytes) => {
    const twin = concat(HONEST, agileEvent({ pcr: 23 }, DIGESTS));
    expect(parseEventLog(twin).events).toHaveLength(2);
    expect(() => parseEventLog(concat(HONEST, bytes))).toThrow(code(expected, 'event:2'));
  });
});

function withDataSize(size: number): Uint8Array {
  const event = agileEvent(EVENT, DIGESTS);
  event.set(u32le(size), event.length - 4);
  return event;
}

describe('a log of the old form', () => {
  const log = concat(sha1Event({ pcr: 0, type: EV_S_CRTM_VERSION }, 5), sha1Event({ pcr: 7 }, 6));

  test('replays to SHA-1, and to nothing else', () => {
    expect(parseEventLog(log)).toMatchObject({ format: 'sha1', banks: ['sha1'] });
    expect(pcr(log, 'sha1', 0)).toBe(chain('sha1', new Uint8Array(20), new Uint8Array(20).fill(5)));
    // Stops a log without a digest of the judged bank from standing as one that explains it.
    expect(() => pcr(log, 'sha256', 0)).toThrow(code('EVENTLOG_BANK'));
  });

  test('is refused with a header of the new form anywhere but first', () => {
    // Stops a log that changes its form half way: the header is data there, no more, and what follows is misread.
    const late = concat(log, header(AGILE), agileEvent(EVENT, DIGESTS));
    expect(() => parseEventLog(late)).toThrow(code('EVENTLOG_MALFORMED', 'event:3'));
    expect(parseEventLog(concat(log, header(AGILE))).events).toHaveLength(2);
  });

  test('is what a log with another signature is', () => {
    const other = header(AGILE, { signature: 'Spec ID Event02\0' });
    expect(parseEventLog(concat(other, log))).toMatchObject({ format: 'sha1', banks: ['sha1'] });
  });
});

describe('the locality of startup', () => {
  const start = (...values: number[]) =>
    agileEvent({ pcr: 0, type: EV_NO_ACTION, data: locality(...values) }, DIGESTS);
  const crtm = agileEvent({ pcr: 0, type: EV_S_CRTM_VERSION }, DIGESTS);
  const other = agileEvent({ pcr: 7 }, DIGESTS);
  const twin = concat(header(AGILE), other, start(3), crtm);

  test.each([0, 3, 4])('is what PCR 0 starts from: %d', (value) => {
    const log = concat(header(AGILE), start(value), crtm);
    expect(parseEventLog(log).startupLocality).toBe(value);
    const from = new Uint8Array(32);
    from[31] = value;
    expect(pcr(log, 'sha256', 0)).toBe(chain('sha256', from, new Uint8Array(32).fill(2)));
    // Even where nothing is extended, and in no other PCR.
    expect(pcr(concat(header(AGILE), start(4), other), 'sha256', 0)).toBe(`${'00'.repeat(31)}04`);
    expect(pcr(concat(header(AGILE), start(4), other), 'sha256', 7)).toBe(
      chain('sha256', new Uint8Array(32), new Uint8Array(32).fill(2)),
    );
  });

  const flaws: readonly [string, Uint8Array][] = [
    // Stops a start value from being chosen after the fact, to make a PCR 0 replay that does not.
    ['stands twice', concat(start(3), start(3), crtm)],
    ['stands after PCR 0 was extended', concat(crtm, start(3))],
    // Stops start values that no TPM begins with.
    ['is 1', concat(start(1), crtm)],
    ['is 2', concat(start(2), crtm)],
    ['is 5', concat(start(5), crtm)],
    ['is 255', concat(start(255), crtm)],
    ['is not there', concat(start(), crtm)],
    ['has a byte too many', concat(start(3, 0), crtm)],
  ];
  test.each(flaws)('is refused when it %s', (_, rest) => {
    expect(parseEventLog(twin).startupLocality).toBe(3);
    expect(() => parseEventLog(concat(header(AGILE), rest))).toThrow(code('EVENTLOG_LOCALITY'));
  });

  test('is not believed of an event that is measured', () => {
    // Stops an ordinary measurement that says "StartupLocality" from moving the start.
    const log = concat(header(AGILE), agileEvent({ pcr: 0, data: locality(3) }, DIGESTS));
    expect(parseEventLog(log)).toMatchObject({ startupLocality: 0 });
  });
});

test('an event that is no action is in no PCR, whichever it names', () => {
  // Stops informational events from being replayed; firmware writes them with PCR numbers of its own.
  const info = agileEvent({ pcr: 0xffff_ffff, type: EV_NO_ACTION, data: utf8('information') }, DIGESTS);
  const log = parseEventLog(concat(header(AGILE), info, agileEvent(EVENT, DIGESTS), info));
  expect(log.events.map(({ index }) => index)).toEqual([2]);
  expect([...replayEventLog(log, 'sha256').keys()]).toEqual([4]);
});

test('data is measured in the bank it is asked of', () => {
  // Stops a digest of one bank from vouching for data in another.
  const data = utf8('data');
  const sha256 = new Uint8Array(createHash('sha256').update(data).digest());
  const event = concat(u32le(4), u32le(5), u32le(2), Uint8Array.of(4, 0), new Uint8Array(20));
  const log = concat(header(AGILE), event, Uint8Array.of(0x0b, 0), sha256, u32le(data.length), data);
  const parsed = at(parseEventLog(log).events, 0);
  expect(eventDataIsMeasured(parsed, 'sha256')).toBe(true);
  expect(eventDataIsMeasured(parsed, 'sha1')).toBe(false);
  expect(() => eventDataIsMeasured(parsed, 'sha384')).toThrow(code('EVENTLOG_BANK'));
});

test('a log of 16 MiB is read, one of a byte more is refused unread', () => {
  // Stops a log from taking the server's memory. The limit holds before anything is parsed.
  const limit = 16 * 1024 * 1024;
  const empty = sha1Event(EVENT);
  const largest = sha1Event({ ...EVENT, data: new Uint8Array(limit - empty.length) });
  expect(parseEventLog(largest).events).toHaveLength(1);
  expect(() => parseEventLog(new Uint8Array(limit + 1))).toThrow(code('EVENTLOG_TOO_LARGE'));
});
