import { concat, toHex, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import {
  type DecodedEvent,
  decodeEvent,
  decodeNote,
  eventTypeName,
  measuresText,
  parseEventLog,
} from '../src/index.ts';
import { at, u16le, u32le } from './support/bytes.ts';
import { captured } from './support/captured.ts';
import {
  DATABASE,
  END_NODE,
  filePath,
  GLOBAL,
  guid,
  imageLoad,
  type Measured,
  measuredLog,
  node,
  TYPE,
  u64le,
  variable,
  wide,
} from './support/efi.ts';
import { locality, sha1Event } from './support/event-log.ts';
import { code } from './support/refusal.ts';

const DISK = '6ebbe8d0-2a17-1646-8662-6754986179a7';

/** The one event of a log that has it alone. */
function decodeOne(event: Measured): DecodedEvent {
  return decodeEvent(at(parseEventLog(measuredLog([event])).events, 0), 'sha256');
}

describe('the captured log', () => {
  const log = parseEventLog(captured('bios.bin'));

  test('says of each event what is proved and what is only described', () => {
    const lines = log.events.map((event) => {
      const decoded = decodeEvent(event, 'sha256');
      const content = decoded.proof === 'all' ? decoded.measured : decoded.described;
      const detail =
        content.kind === 'variable'
          ? ` ${content.name}`
          : content.kind === 'text'
            ? ` ${content.text}`
            : content.kind === 'tagged'
              ? ` ${content.tag}`
              : '';
      return `${eventTypeName(event.unauthenticated.type)} ${decoded.proof} ${content.kind}${detail}`;
    });
    expect(lines.filter((line) => !line.startsWith('EV_SEPARATOR'))).toEqual([
      'EV_S_CRTM_VERSION all version',
      'EV_EFI_PLATFORM_FIRMWARE_BLOB none firmware-blob',
      'EV_EFI_PLATFORM_FIRMWARE_BLOB none firmware-blob',
      'EV_EFI_VARIABLE_DRIVER_CONFIG all variable SecureBoot',
      'EV_EFI_VARIABLE_DRIVER_CONFIG all variable PK',
      'EV_EFI_VARIABLE_DRIVER_CONFIG all variable KEK',
      'EV_EFI_VARIABLE_DRIVER_CONFIG all variable db',
      'EV_EFI_VARIABLE_DRIVER_CONFIG all variable dbx',
      'EV_EFI_BOOT_SERVICES_APPLICATION none image',
      'EV_EFI_VARIABLE_BOOT part variable BootOrder',
      'EV_EFI_VARIABLE_BOOT part variable Boot0000',
      'EV_EFI_ACTION all text Calling EFI Application from Boot Option',
      'EV_EVENT_TAG none tagged linux-load-options',
      'EV_EVENT_TAG none tagged linux-initrd',
      'EV_EFI_ACTION all text Exit Boot Services Invocation',
      'EV_EFI_ACTION all text Exit Boot Services Returned with Success',
    ]);
    const separators = log.events.filter(({ unauthenticated }) => unauthenticated.type === TYPE.separator);
    for (const event of separators) {
      expect(decodeEvent(event, 'sha256')).toEqual({
        proof: 'all',
        measured: { kind: 'separator', error: false },
      });
    }
  });

  test('holds the image, the boot option and the firmware volumes as they were', () => {
    const byIndex = new Map(log.events.map((event) => [event.index, decodeEvent(event, 'sha256')]));
    expect(byIndex.get(10)).toEqual({
      proof: 'none',
      described: {
        kind: 'image',
        address: 0x3c8b8018n,
        length: 14186432n,
        linkTimeAddress: 0n,
        path: 'VenMedia(1428f772-b64a-441e-b8c3-9ebdd7f893c7)/kernel',
      },
    });
    expect(byIndex.get(3)).toEqual({
      proof: 'none',
      described: { kind: 'firmware-blob', base: 0x900000n, length: 0xc00000n },
    });
    expect(byIndex.get(11)).toMatchObject({
      measured: { part: 'variable-content', data: Uint8Array.of(0, 0) },
      described: { value: { is: 'boot-order', order: ['Boot0000'] } },
    });
    expect(byIndex.get(12)).toMatchObject({
      described: {
        value: {
          is: 'boot-option',
          option: {
            active: true,
            description: 'UiApp',
            paths: ['Fv(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331)'],
          },
        },
      },
    });
  });

  test('measures the command line that the machine was started with, which is not in it', () => {
    const options = log.events.filter((event) => event.authenticated.pcr === 9);
    const line = 'console=ttyS0 ima_template=ima-ng quiet panic=-1 initrd=initrd';
    expect(options.map((event) => measuresText(event, 'sha256', line))).toEqual([true, false]);
    expect(options.some((event) => measuresText(event, 'sha256', `${line} init=/bin/sh`))).toBe(false);
  });

  test('begins with a note of the specification, which nothing proves', () => {
    expect(log.notes.map(decodeNote)).toEqual([
      { note: 'specification', version: '2.0 errata 0', platformClass: 0 },
    ]);
  });
});

describe('how far an event is proved', () => {
  const data = variable(GLOBAL, 'BootOrder', u16le(3));

  test('all of its data, where the data is what was hashed', () => {
    const measured = { kind: 'variable', vendor: GLOBAL, name: 'BootOrder', data: u16le(3) };
    expect(decodeOne({ pcr: 1, type: TYPE.boot, data })).toMatchObject({ proof: 'all', measured });
  });

  test('the variable’s content alone, where the name was not hashed', () => {
    const decoded = decodeOne({ pcr: 1, type: TYPE.boot, data, hashed: u16le(3) });
    expect(decoded).toMatchObject({ proof: 'part', measured: { part: 'variable-content', data: u16le(3) } });
  });

  test('nothing of it, when one byte of the data is changed', () => {
    const changed = variable(GLOBAL, 'BootOrder', u16le(4));
    expect(decodeOne({ pcr: 1, type: TYPE.boot, data: changed, hashed: data }).proof).toBe('none');
    expect(decodeOne({ pcr: 1, type: TYPE.boot, data: changed, hashed: u16le(3) }).proof).toBe('none');
  });

  test.each([
    ['GRUB', utf8('kernel_cmdline: root=/dev/vda quiet\0'), utf8('root=/dev/vda quiet'), 'kernel_cmdline'],
    ['Red Hat’s GRUB', utf8('grub_cmd root=/dev/vda quiet\0'), utf8('root=/dev/vda quiet'), 'grub_cmd'],
    ['systemd', wide('root=/dev/vda quiet\0'), wide('root=/dev/vda quiet'), undefined],
    ['systemd of old', concat(wide('root=/dev/vda quiet'), new Uint8Array(1)), wide('root=/dev/vda quiet\0')],
    ['a section’s name', wide('root=/dev/vda quiet\0'), utf8('root=/dev/vda quiet\0')],
  ])('the text without its label or its zero: %s', (_, text, hashed, label?: string) => {
    const decoded = decodeOne({ pcr: 8, type: TYPE.ipl, data: text, hashed });
    expect(decoded).toMatchObject({
      proof: 'part',
      measured: { part: 'text', text: 'root=/dev/vda quiet' },
      described: { kind: 'text', ...(label === undefined ? {} : { label }) },
    });
    // Stops a text that was not hashed from being taken for the one that was.
    expect(decodeOne({ pcr: 8, type: TYPE.ipl, data: text, hashed: utf8('root=/dev/evil') }).proof).toBe(
      'none',
    );
  });

  test('a variable of shim’s, whose event is a byte longer than what was hashed', () => {
    const shim = variable('605dab50-e046-4300-abb6-3dd810dd8b23', 'Shim', utf8('certificate'));
    const padded = concat(shim, new Uint8Array(6));
    const event = { pcr: 7, type: TYPE.authority, data: padded };
    expect(decodeOne({ ...event, hashed: padded.subarray(0, -1) })).toMatchObject({
      proof: 'part',
      measured: { part: 'variable', name: 'Shim' },
    });
    expect(decodeOne({ ...event, hashed: shim.subarray(0, -1) }).proof).toBe('none');
  });

  test('a type of another kind changes what is decoded and proves nothing more', () => {
    // The type is not authenticated: whoever writes the log may call a measurement what he likes.
    const decoded = decodeOne({ pcr: 1, type: TYPE.action, data });
    expect(decoded).toEqual({ proof: 'all', measured: { kind: 'unknown' } });
  });
});

describe('data of each kind', () => {
  test('firmware blobs and tables, with and without a description', () => {
    const blob = concat(u64le(0xff00), u64le(0x80));
    const table = concat(u64le(1), guid(DISK), u64le(0x7000));
    const named = (data: Uint8Array) => concat(Uint8Array.of(4), utf8('Boot'), data);
    const decode = (type: number, data: Uint8Array) => {
      const decoded = decodeOne({ pcr: 0, type, data, hashed: utf8('the blob itself') });
      return decoded.proof === 'none' ? decoded.described : undefined;
    };
    const expectedBlob = { kind: 'firmware-blob', base: 0xff00n, length: 0x80n };
    expect(decode(TYPE.blob, blob)).toEqual(expectedBlob);
    expect(decode(TYPE.blob2, named(blob))).toEqual({ ...expectedBlob, description: 'Boot' });
    const tables = [{ guid: DISK, address: 0x7000n }];
    expect(decode(TYPE.tables, table)).toEqual({ kind: 'handoff-tables', tables });
    expect(decode(TYPE.tables2, named(table))).toEqual({
      kind: 'handoff-tables',
      tables,
      description: 'Boot',
    });
  });

  test('a partition table', () => {
    const entry = concat(
      guid(DISK),
      guid(DATABASE),
      u64le(34),
      u64le(99),
      u64le(0),
      wide('root'),
      new Uint8Array(64),
    );
    const gptHeader = concat(new Uint8Array(56), guid(DISK), new Uint8Array(20));
    const table = (count: number | bigint) => concat(gptHeader, u64le(count), entry);
    expect(decodeOne({ pcr: 5, type: TYPE.gpt, data: table(1) })).toMatchObject({
      measured: {
        disk: DISK,
        partitions: [{ type: DISK, id: DATABASE, firstBlock: 34n, lastBlock: 99n, name: 'root' }],
      },
    });
    for (const count of [0, 2, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) {
      expect(() => decodeOne({ pcr: 5, type: TYPE.gpt, data: table(count) })).toThrow(
        code('EVENTLOG_DATA', 'event:1'),
      );
    }
  });

  test('tagged events, of a tag that is known and of one that is not', () => {
    const tagged = (id: number, text: Uint8Array, size = text.length) =>
      decodeOne({
        pcr: 12,
        type: TYPE.tag,
        data: concat(u32le(id), u32le(size), text),
        hashed: utf8('file'),
      });
    expect(tagged(0xf5bc_582a, wide('loader.conf\0'))).toMatchObject({
      described: { tag: 'systemd-loader-conf', text: 'loader.conf' },
    });
    expect(tagged(7, Uint8Array.of(1, 2))).toMatchObject({ described: { tag: '0x00000007' } });
    expect(() => tagged(7, utf8('text'), 5)).toThrow(code('EVENTLOG_DATA'));
    expect(() => tagged(7, utf8('text'), 0xffff_ffff)).toThrow(code('EVENTLOG_DATA'));
  });

  test('a separator that says that measuring failed', () => {
    expect(decodeOne({ pcr: 0, type: TYPE.separator, data: u32le(1) })).toMatchObject({
      measured: { kind: 'separator', error: true },
    });
  });

  test('a type that nobody knows is unknown', () => {
    expect(decodeOne({ pcr: 0, type: 0x9000_0000, data: utf8('x') })).toEqual({
      proof: 'all',
      measured: { kind: 'unknown' },
    });
  });

  test('notes: startup locality, reference manifest, and what is neither', () => {
    const note = (data: Uint8Array) => at(parseEventLog(sha1Event({ pcr: 0, type: 3, data })).notes, 0);
    expect(decodeNote(note(locality(3)))).toEqual({ note: 'startup-locality', locality: 3 });
    const manifest = concat(utf8('SP800-155 Event\0'), u32le(343), guid(DISK));
    expect(decodeNote(note(manifest))).toEqual({ note: 'reference-manifest', vendor: 343, manifest: DISK });
    expect(decodeNote(note(utf8('anything')))).toEqual({ note: 'unknown' });
    expect(() => decodeNote(note(manifest.subarray(0, -1)))).toThrow(code('EVENTLOG_DATA', 'event:0'));
  });
});

describe('lengths that lie', () => {
  const honest = variable(GLOBAL, 'SecureBoot', Uint8Array.of(1));

  test.each([
    ['a name past the end', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { name: 11 })],
    ['a name shorter than it is', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { name: 9 })],
    ['a name of 2^63 characters', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { name: 2n ** 63n })],
    ['data past the end', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { data: 2 })],
    ['data of 2^64 - 1 bytes', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { data: 2n ** 64n - 1n })],
    ['no data', variable(GLOBAL, 'SecureBoot', Uint8Array.of(1), { data: 0 })],
    ['bytes after the data', concat(honest, Uint8Array.of(0))],
    ['half a GUID', honest.subarray(0, 8)],
  ])('a variable with %s is refused', (_, data) => {
    expect(decodeOne({ pcr: 7, type: TYPE.config, data: honest }).proof).toBe('all');
    expect(() => decodeOne({ pcr: 7, type: TYPE.config, data })).toThrow(code('EVENTLOG_DATA', 'event:1'));
  });

  const path = filePath('\\EFI\\BOOT\\BOOTX64.EFI');

  test.each([
    ['longer than its event', imageLoad(path, path.length + 1)],
    ['of 2^64 - 1 bytes', imageLoad(path, 2n ** 64n - 1n)],
    ['with a node of no bytes', imageLoad(node(4, 4, wide('x'), 0))],
    ['with a node of three bytes', imageLoad(node(4, 4, wide('x'), 3))],
    ['with a node past its end', imageLoad(node(4, 4, wide('x'), 9))],
    [
      'of 100,000 nodes',
      imageLoad(concat(...Array.from({ length: 100_000 }, () => node(1, 1, new Uint8Array())))),
    ],
  ])('a device path %s is refused', (_, data) => {
    const event = { pcr: 4, type: TYPE.application, hashed: utf8('the image') };
    expect(decodeOne({ ...event, data: imageLoad(path) })).toMatchObject({
      described: { path: '\\EFI\\BOOT\\BOOTX64.EFI' },
    });
    expect(() => decodeOne({ ...event, data })).toThrow(code('EVENTLOG_DATA', 'event:1'));
  });

  test('a boot option whose path or description does not end is refused', () => {
    const option = (size: number, text: Uint8Array) =>
      decodeOne({
        pcr: 1,
        type: TYPE.boot,
        data: variable(GLOBAL, 'Boot0001', concat(u32le(1), u16le(size), text, path)),
      });
    expect(option(path.length, wide('Linux\0'))).toMatchObject({
      measured: { value: { option: { description: 'Linux', paths: ['\\EFI\\BOOT\\BOOTX64.EFI'] } } },
    });
    expect(() => option(path.length + 1, wide('Linux\0'))).toThrow(code('EVENTLOG_DATA'));
    expect(() => option(0xffff, wide('Linux\0'))).toThrow(code('EVENTLOG_DATA'));
    expect(() => option(path.length, wide('Linux'))).toThrow(code('EVENTLOG_DATA'));
  });

  test.each([
    ['two tables where one is', concat(u64le(2), guid(DISK), u64le(0))],
    ['2^61 tables', concat(u64le(2n ** 61n), guid(DISK), u64le(0))],
    ['no count', new Uint8Array(7)],
  ])('handoff tables with %s are refused', (_, data) => {
    expect(() => decodeOne({ pcr: 1, type: TYPE.tables, data })).toThrow(code('EVENTLOG_DATA', 'event:1'));
  });
});

test('device path nodes are written as UEFI writes them', () => {
  const hardDrive = concat(u32le(1), u64le(0x800), u64le(0x32000), guid(DISK), Uint8Array.of(2, 2));
  const path = concat(
    node(2, 1, concat(u32le(0x0a0341d0), u32le(0))),
    node(1, 1, Uint8Array.of(0, 4)),
    node(3, 0x17, concat(u32le(1), new Uint8Array(8))),
    node(4, 1, hardDrive),
    node(4, 1, utf8('short')),
    node(9, 9, utf8('?')),
    node(4, 4, wide('\\vmlinuz\0')),
    END_NODE,
  );
  expect(decodeOne({ pcr: 4, type: TYPE.application, data: imageLoad(path) })).toMatchObject({
    measured: {
      path: `PciRoot(0x0)/Pci(0x4,0x0)/NVMe(0x1,0000000000000000)/HD(1,GPT,${DISK},0x800,0x32000)/Path(4,1,${toHex(utf8('short'))})/Path(9,9,3f)/\\vmlinuz`,
    },
  });
});
