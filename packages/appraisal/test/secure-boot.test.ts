import { concat, fromHex, sha256, toHex, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import {
  type Appraisal,
  type AppraisalPolicy,
  continuityFromJson,
  continuityToJson,
  parsePolicy,
  type Reference,
} from '../src/index.ts';
import { codes } from './support/appraise.ts';
import { BOOT, type BootEvent, MACHINE_POLICY, Machine, separator } from './support/machine.ts';

const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
const X509 = 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072';
const SHA256 = 'c1c41626-504c-4092-aca9-41f936934328';
const CONFIG = 0x8000_0001;
const AUTHORITY = 0x8000_00e0;

const guid = (text: string): Uint8Array => {
  const [a = '', b = '', c = '', d = '', e = ''] = text.split('-');
  return concat(...[a, b, c].map((part) => fromHex(part).toReversed()), fromHex(d), fromHex(e));
};
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number) => concat(u32(value), u32(0));
const owner = new Uint8Array(16).fill(7);
const variable = (vendor: string, name: string, data: Uint8Array) =>
  concat(
    guid(vendor),
    u64(name.length),
    u64(data.length),
    new Uint8Array(Buffer.from(name, 'utf16le')),
    data,
  );
const list = (type: string, ...entries: Uint8Array[]) => {
  const size = 16 + (entries[0]?.length ?? 0);
  const all = entries.flatMap((entry) => [owner, entry]);
  return concat(guid(type), u32(28 + size * entries.length), u32(0), u32(size), ...all);
};
const setting = (vendor: string, name: string, data: Uint8Array): BootEvent => ({
  pcr: 7,
  type: CONFIG,
  data: variable(vendor, name, data),
});

const vendorKey = utf8('the platform key of a maker');
const ourKey = utf8('a certificate of ours');
const theirKey = utf8('a certificate of theirs');
const broken = sha256(utf8('a boot loader with a hole'));
const fingerprint = (bytes: Uint8Array) => toHex(sha256(bytes));

/** Variables of a machine with secure boot on. */
const SETTINGS = {
  SecureBoot: setting(GLOBAL, 'SecureBoot', Uint8Array.of(1)),
  PK: setting(GLOBAL, 'PK', list(X509, vendorKey)),
  KEK: setting(GLOBAL, 'KEK', list(X509, ourKey)),
  db: setting(DATABASE, 'db', list(X509, ourKey)),
  dbx: setting(DATABASE, 'dbx', list(SHA256, broken, sha256(utf8('another')))),
};
const authority = (key: Uint8Array): BootEvent => ({
  pcr: 7,
  type: AUTHORITY,
  data: variable(DATABASE, 'db', concat(owner, key)),
});

const KEYS = {
  enabled: true,
  PK: { certificates: [fingerprint(vendorKey)] },
  KEK: { certificates: [fingerprint(ourKey)] },
  db: { certificates: [fingerprint(ourKey)] },
  dbx: { hashes: [toHex(broken)] },
};

function policyWith(secureBoot: Reference['secureBoot'], more: unknown[] = []): AppraisalPolicy {
  const boot = [...(MACHINE_POLICY.reference.boot ?? []).filter(({ pcr }) => pcr !== 7), ...more];
  return parsePolicy({ ...MACHINE_POLICY, reference: { ...MACHINE_POLICY.reference, boot, secureBoot } });
}

const POLICY = policyWith(KEYS);

/** A boot whose PCR 7 holds these. */
function appraise(
  change: Partial<Record<keyof typeof SETTINGS, BootEvent | undefined>> = {},
  after: readonly BootEvent[] = [authority(ourKey)],
  policy = POLICY,
): Appraisal {
  const machine = new Machine();
  const settings = Object.values({ ...SETTINGS, ...change }).filter((one) => one !== undefined);
  machine.reboot([...settings, separator(7), ...after, ...BOOT.filter(({ pcr }) => pcr !== 7)]);
  const appraisal = machine.appraise({ policy });
  // Judged again from what a store kept of it, it comes to the same.
  if (appraisal.next !== undefined) {
    const previous = continuityFromJson(continuityToJson(appraisal.next));
    expect(codes(machine.appraise({ policy, previous }))).toEqual(codes(appraisal));
  }
  return appraisal;
}

describe('secure boot', () => {
  it('is VERIFIED where it is on, with the keys and revocations of the policy', () => {
    expect(appraise().platform).toMatchObject({ state: 'VERIFIED', tier: 'B', refusals: [] });
  });

  it.each<[string, Parameters<typeof appraise>[0], string, string]>([
    [
      'it is off',
      { SecureBoot: setting(GLOBAL, 'SecureBoot', Uint8Array.of(0)) },
      'SECURE_BOOT_STATE',
      'event:1',
    ],
    ['its state was not measured', { SecureBoot: undefined }, 'SECURE_BOOT_MISSING', 'pcr:7'],
    ['db was not measured', { db: undefined }, 'SECURE_BOOT_MISSING', 'pcr:7'],
    [
      'another platform key rules',
      { PK: setting(GLOBAL, 'PK', list(X509, theirKey)) },
      'SECURE_BOOT_KEY',
      'event:2',
    ],
    [
      'there is no platform key',
      { PK: setting(GLOBAL, 'PK', new Uint8Array()) },
      'SECURE_BOOT_KEY',
      'event:2',
    ],
    [
      'db lets a further key sign',
      { db: setting(DATABASE, 'db', concat(list(X509, ourKey), list(X509, theirKey))) },
      'SECURE_BOOT_KEY',
      'event:4',
    ],
    [
      'db lets a single image pass',
      { db: setting(DATABASE, 'db', concat(list(X509, ourKey), list(SHA256, broken))) },
      'SECURE_BOOT_KEY',
      'event:4',
    ],
    [
      'dbx lacks a revocation',
      { dbx: setting(DATABASE, 'dbx', list(SHA256, sha256(utf8('another')))) },
      'SECURE_BOOT_REVOCATION',
      'event:5',
    ],
    [
      'dbx is empty',
      { dbx: setting(DATABASE, 'dbx', new Uint8Array()) },
      'SECURE_BOOT_REVOCATION',
      'event:5',
    ],
  ])('is VIOLATED where %s', (_, change, code, pointer) => {
    const { platform } = appraise(change);
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toMatchObject([{ code, pointer }]);
  });

  it('is refused where a key let an image pass that the policy does not know', () => {
    expect(codes(appraise({}, [authority(theirKey)]))).toEqual(['SECURE_BOOT_KEY']);
  });

  it('is refused where a setting is measured twice, or after the separator', () => {
    const off = setting(GLOBAL, 'SecureBoot', Uint8Array.of(0));
    const machine = new Machine();
    const rest = BOOT.filter(({ pcr }) => pcr !== 7);
    machine.reboot([off, ...Object.values(SETTINGS), separator(7), ...rest]);
    expect(codes(machine.appraise({ policy: POLICY }))).toContain('EVENTLOG_SECURE_BOOT');
    // Software that runs later measures what the firmware should have measured.
    const { SecureBoot, ...others } = SETTINGS;
    machine.reboot([off, ...Object.values(others), separator(7), SecureBoot, ...rest]);
    expect(codes(machine.appraise({ policy: POLICY }))).toEqual(
      expect.arrayContaining(['EVENT_SEPARATOR', 'SECURE_BOOT_STATE']),
    );
  });

  it('does not believe data beside a digest that it is not of', () => {
    const { SecureBoot } = SETTINGS;
    const lied = { ...SecureBoot, measured: variable(GLOBAL, 'SecureBoot', Uint8Array.of(0)) };
    expect(codes(appraise({ SecureBoot: lied }))).toEqual([
      'EVENT_DATA',
      'SECURE_BOOT_MISSING',
      'EVENT_UNKNOWN',
    ]);
  });

  it('takes a whole variable by its digest, and refuses one that the policy does not speak of', () => {
    const keys = { enabled: true, KEK: KEYS.KEK, db: KEYS.db, dbx: KEYS.dbx };
    expect(codes(appraise({}, undefined, policyWith(keys)))).toEqual(['EVENT_UNKNOWN']);
    const value = { name: 'the maker’s platform key', digest: fingerprint(SETTINGS.PK.data) };
    const named = { pcr: 7, class: 'secure-boot', values: [value] };
    expect(codes(appraise({}, undefined, policyWith(keys, [named])))).toEqual([]);
  });
});

describe('a policy for secure boot', () => {
  it.each<[string, Record<string, unknown>, string]>([
    ['a list without values', { ...KEYS, db: {} }, '/reference/secureBoot/db'],
    ['a variable that is no key list', { ...KEYS, MokList: {} }, '/reference/secureBoot'],
    ['no state', { db: KEYS.db }, '/reference/secureBoot'],
  ])('is refused with %s', (_, secureBoot, pointer) => {
    const reference = { ...MACHINE_POLICY.reference, secureBoot };
    expect(() => parsePolicy({ ...MACHINE_POLICY, reference })).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', pointer: expect.stringContaining(pointer) }),
    );
  });
});
