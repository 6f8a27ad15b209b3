import { concat, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { parseEventLog, secureBootState } from '../src/index.ts';
import { at } from './support/bytes.ts';
import {
  DATABASE,
  GLOBAL,
  guid,
  type ListSizes,
  type Measured,
  measuredLog,
  OWNER,
  SHA256,
  secureBootEvents,
  signatureList,
  TYPE,
  variable,
  X509,
} from './support/efi.ts';
import { code } from './support/refusal.ts';

function stateOf(events: readonly Measured[]) {
  return secureBootState(parseEventLog(measuredLog(events)), 'sha256');
}

const off: Measured = { pcr: 7, type: TYPE.config, data: variable(GLOBAL, 'SecureBoot', Uint8Array.of(0)) };

describe('secure boot', () => {
  test('is read from what was measured', () => {
    const state = stateOf(secureBootEvents());
    expect(state.enabled).toBe(true);
    expect([...state.databases].map(([name, lists]) => [name, lists.map(({ type }) => type)])).toEqual([
      ['PK', ['x509']],
      ['KEK', ['x509']],
      ['db', ['x509']],
      ['dbx', ['sha256']],
    ]);
    expect(at(at(state.databases.get('dbx') ?? [], 0).signatures, 1)).toEqual({
      owner: OWNER,
      data: new Uint8Array(32).fill(2),
    });
    expect(state.authorities).toEqual([
      { event: 7, database: 'db', signature: { owner: OWNER, data: utf8('a certificate') } },
    ]);
    expect(state.unexplained).toEqual([]);
  });

  test('is not on because the data says so, when something else was hashed', () => {
    const [, ...others] = secureBootEvents();
    const lie = { ...at(secureBootEvents(), 0), hashed: off.data ?? new Uint8Array() };
    const state = stateOf([lie, ...others]);
    expect(state.enabled).toBeUndefined();
    expect(state.unexplained).toEqual([1]);
  });

  test('is not on because software measured that after the separator', () => {
    const [on, ...others] = secureBootEvents();
    const state = stateOf([off, ...others, at([on], 0) ?? off]);
    expect(state.enabled).toBe(false);
    expect(state.unexplained).toEqual([8]);
  });

  test('is not on because its event is in another PCR', () => {
    const [on, ...others] = secureBootEvents();
    expect(stateOf([{ ...(on ?? off), pcr: 1 }, ...others]).enabled).toBeUndefined();
  });

  test('is refused when it is measured on and off', () => {
    const [on = off, ...others] = secureBootEvents();
    for (const twice of [
      [on, off],
      [off, on],
    ]) {
      expect(() => stateOf([...twice, ...others])).toThrow(code('EVENTLOG_SECURE_BOOT', 'event:2'));
    }
  });

  test('is refused when nothing ends the firmware’s settings', () => {
    const open = secureBootEvents().filter(({ type }) => type !== TYPE.separator);
    expect(() => stateOf(open)).toThrow(code('EVENTLOG_SECURE_BOOT', 'pcr:7'));
  });

  test('is never proved by a lie about an event’s type', () => {
    const honest = secureBootEvents();
    for (const [index, event] of honest.entries()) {
      for (const type of [TYPE.action, TYPE.authority, TYPE.config, 3]) {
        if (type === event.type) continue;
        const changed = honest.map((one, i) => (i === index ? { ...one, type } : one));
        let state: ReturnType<typeof stateOf> | undefined;
        try {
          state = stateOf(changed);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^EVENTLOG_/) });
          continue;
        }
        // Whatever it is called now, nothing that was not there before is proved by it.
        const before = stateOf(honest);
        expect([before.enabled, undefined]).toContain(state.enabled);
        for (const [name, lists] of state.databases) expect(lists).toEqual(before.databases.get(name));
      }
    }
  });

  test('leaves what it does not know unexplained', () => {
    const dma = { pcr: 7, type: TYPE.action, data: utf8('DMA Protection Disabled') };
    expect(stateOf([dma, ...secureBootEvents()]).unexplained).toEqual([1]);
  });
});

describe('signature lists', () => {
  const digests = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];

  function withDatabase(data: Uint8Array) {
    const replaced = { pcr: 7, type: TYPE.config, data: variable(DATABASE, 'dbx', data) };
    return stateOf(secureBootEvents().map((event, index) => (index === 4 ? replaced : event)));
  }

  test('several stand one after the other, of types that are known and not', () => {
    const unknown = signatureList('00000000-0000-0000-0000-000000000001', [utf8('x')]);
    const lists = concat(signatureList(SHA256, digests), signatureList(X509, [utf8('c')]), unknown);
    expect(
      withDatabase(lists)
        .databases.get('dbx')
        ?.map(({ type, signatures }) => [type, signatures.length]),
    ).toEqual([
      ['sha256', 2],
      ['x509', 1],
      ['00000000-0000-0000-0000-000000000001', 1],
    ]);
    expect(withDatabase(new Uint8Array()).databases.get('dbx')).toEqual([]);
  });

  // A list has 28 bytes of header, and each of these two signatures 48.
  test.each<[string, ListSizes]>([
    ['a list of no bytes', { list: 0 }],
    ['a list of less than its header', { list: 27 }],
    ['a list without its last byte', { list: 123 }],
    ['a list past its variable', { list: 125 }],
    ['a list of 4 GiB', { list: 0xffff_ffff }],
    ['a header that takes a signature’s place', { header: 1 }],
    ['a header longer than the list', { header: 97 }],
    ['a header of 4 GiB', { header: 0xffff_ffff }],
    ['a header that makes the sum wrap', { header: 0xffff_ffd0, signature: 48 }],
    ['signatures of no bytes', { signature: 0 }],
    ['signatures of one byte', { signature: 1 }],
    ['signatures of an owner alone', { signature: 16 }],
    ['signatures that leave bytes over', { signature: 47 }],
    ['signatures of another size than their type’s', { signature: 96 }],
    ['signatures of another size that fits', { signature: 32 }],
    ['signatures of 4 GiB', { signature: 0xffff_ffff }],
  ])('%s is refused', (_, sizes) => {
    expect(withDatabase(signatureList(SHA256, digests)).databases.get('dbx')).toHaveLength(1);
    expect(() => withDatabase(signatureList(SHA256, digests, sizes))).toThrow(
      code('EVENTLOG_SIGNATURES', 'event:5'),
    );
  });

  test('bytes after the last list are refused', () => {
    const list = signatureList(SHA256, digests);
    expect(() => withDatabase(concat(list, new Uint8Array(27)))).toThrow(code('EVENTLOG_SIGNATURES'));
  });

  test('a million signatures of 17 bytes are refused before they are read', () => {
    const body = new Uint8Array(17 * 900_000);
    const list = concat(
      guid('00000000-0000-0000-0000-000000000001'),
      new Uint8Array(Uint32Array.of(28 + body.length, 0, 17).buffer),
      body,
    );
    expect(() => withDatabase(list)).toThrow(code('EVENTLOG_SIGNATURES'));
  });
});
