import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bareTpmPolicy, parsePolicy } from '@kallio/appraisal';
import { digestOfBank, measuresText, parseEventLog } from '@kallio/evidence';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { authenticodeDigest } from '../../src/reference/authenticode.ts';
import { bootReferences } from '../../src/reference/boot.ts';
import { run } from '../support/program.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-boot-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const OPTIONAL_SIZE = 240;
const PE = 0x80;
const OPTIONAL = PE + 24;
const CHECKSUM = OPTIONAL + 64;
const CERTIFICATES = OPTIONAL + 112 + 4 * 8;

/** A PE32+ image with two sections (by default the second lies first in the file), data after them, and a signature. */
function image(signature: Uint8Array = new Uint8Array(), inOrder = false): Buffer {
  const bytes = Buffer.alloc(0x800 + 0x58 + signature.length);
  bytes.write('MZ', 0);
  bytes.writeUInt32LE(PE, 0x3c);
  bytes.write('PE\0\0', PE);
  bytes.writeUInt16LE(0x8664, PE + 4);
  bytes.writeUInt16LE(2, PE + 6);
  bytes.writeUInt16LE(OPTIONAL_SIZE, PE + 20);
  bytes.writeUInt16LE(0x22e, PE + 22);
  bytes.writeUInt16LE(0x20b, OPTIONAL);
  bytes.writeUInt32LE(0x1000, OPTIONAL + 32);
  bytes.writeUInt32LE(0x200, OPTIONAL + 36);
  bytes.writeUInt32LE(0x3000, OPTIONAL + 56);
  bytes.writeUInt32LE(0x200, OPTIONAL + 60);
  bytes.writeUInt32LE(0xdead, CHECKSUM);
  bytes.writeUInt16LE(10, OPTIONAL + 68);
  bytes.writeUInt32LE(16, OPTIONAL + 108);
  bytes.writeUInt32LE(signature.length === 0 ? 0 : 0x858, CERTIFICATES);
  bytes.writeUInt32LE(signature.length, CERTIFICATES + 4);
  const sections: [string, number, number, number][] = [
    ['.text', 0x1000, 0x400, 0x400],
    ['.data', 0x2000, 0x200, 0x200],
  ];
  if (inOrder) sections.reverse();
  for (const [i, [name, address, size, from]] of sections.entries()) {
    const at = OPTIONAL + OPTIONAL_SIZE + i * 40;
    bytes.write(name, at);
    bytes.writeUInt32LE(size, at + 8);
    bytes.writeUInt32LE(address, at + 12);
    bytes.writeUInt32LE(size, at + 16);
    bytes.writeUInt32LE(from, at + 20);
    bytes.fill(i + 1, from, from + size);
  }
  bytes.fill(9, 0x800, 0x858);
  bytes.set(signature, 0x858);
  return bytes;
}

/** A WIN_CERTIFICATE, whatever is in it: its length, revision 2.0, PKCS#7. */
function certificate(fill: number): Uint8Array {
  const bytes = Buffer.alloc(0x100, fill);
  bytes.writeUInt32LE(0x100, 0);
  bytes.writeUInt16LE(0x200, 4);
  bytes.writeUInt16LE(2, 6);
  return bytes;
}

const hasPesign = spawnSync('pesign', ['--help']).error === undefined;

describe('the digest of an EFI image', () => {
  it('is of everything but checksum, signatures and where they are', () => {
    const bytes = image();
    const digest = authenticodeDigest(bytes);
    const parts = [
      bytes.subarray(0, CHECKSUM),
      bytes.subarray(CHECKSUM + 4, CERTIFICATES),
      bytes.subarray(CERTIFICATES + 8),
    ];
    expect(digest).toBe(createHash('sha256').update(Buffer.concat(parts)).digest('hex'));
    for (const fill of [1, 2]) expect(authenticodeDigest(image(certificate(fill)))).toBe(digest);
    const checked = Buffer.from(bytes);
    checked.writeUInt32LE(1, CHECKSUM);
    expect(authenticodeDigest(checked)).toBe(digest);
    for (const at of [2, OPTIONAL + 16, 0x200, 0x5ff, 0x7ff, 0x800, bytes.length - 1]) {
      const other = Buffer.from(bytes);
      other[at] = (other[at] ?? 0) ^ 1;
      expect(authenticodeDigest(other), `byte ${at}`).not.toBe(digest);
    }
  });

  it.skipIf(!hasPesign)('is what pesign says, of sections that it need not sort', () => {
    for (const bytes of [image(new Uint8Array(), true), image(certificate(1), true)]) {
      writeFileSync(join(dir, 'image.efi'), bytes);
      const said = spawnSync('pesign', ['-h', '-i', join(dir, 'image.efi')], { encoding: 'utf8' });
      expect(said.stdout, said.stderr).toContain(authenticodeDigest(bytes));
    }
  });

  it('is refused of anything else, and of an image that does not hold together', () => {
    expect(() => authenticodeDigest(image())).not.toThrow();
    const set = (at: number, value: number) => {
      const bytes = image();
      bytes.writeUInt32LE(value, at);
      return bytes;
    };
    const hostile: Uint8Array[] = [
      new Uint8Array(),
      Buffer.from('MZ'),
      Buffer.alloc(4096),
      image().subarray(0, 0x300),
      set(0x3c, 0xffff_fff0),
      set(PE, 0),
      set(OPTIONAL + 60, 0xffff_ffff),
      set(OPTIONAL + OPTIONAL_SIZE + 16, 0x7fff_ffff),
      set(OPTIONAL + OPTIONAL_SIZE + 20, 0x7fff_ffff),
      set(PE + 4, 0xffff_8664),
    ];
    for (const bytes of hostile) {
      expect(() => authenticodeDigest(bytes)).toThrow(expect.objectContaining({ code: 'CLI_EFI_IMAGE' }));
    }
  });
});

describe('the values of a boot', () => {
  it('are those that a real one measured: command line and boot attempt of the captured boot', () => {
    const folder = join(import.meta.dirname, '../../../evidence/test/fixtures/debian12-qemu');
    const log = parseEventLog(new Uint8Array(readFileSync(join(folder, 'bios.bin'))));
    // What was handed to QEMU; OVMF added the last word.
    const commandLine = 'console=ttyS0 ima_template=ima-ng quiet panic=-1 initrd=initrd';
    const { reference } = bootReferences({
      ...{ by: 'efi-stub', loaders: [], kernels: [], initrds: [] },
      commandLines: [commandLine],
    });
    const values = (reference.boot ?? []).flatMap((one) =>
      one.values.map((value) => ({ pcr: one.pcr, value })),
    );
    for (const { pcr, value } of values) {
      if (!('text' in value)) throw new Error('texts only');
      const found = log.events.filter(
        (event) => event.authenticated.pcr === pcr && measuresText(event, 'sha256', value.text),
      );
      expect(found, value.text).toHaveLength(1);
      const [event] = found;
      if (event === undefined) throw new Error('one');
      const encoded = Buffer.from(
        value.encoding === 'utf-16le-nul' ? `${value.text}\0` : value.text,
        value.encoding === 'utf-16le-nul' ? 'utf16le' : 'utf8',
      );
      const digest = createHash('sha256').update(encoded).digest();
      expect(Buffer.from(digestOfBank(event.authenticated, 'sha256'))).toEqual(digest);
    }
    expect(values).toHaveLength(2);
  });

  it('go into a policy, by who measures what', async () => {
    writeFileSync(join(dir, 'vmlinuz'), image());
    writeFileSync(join(dir, 'initrd.img'), 'an initial RAM disk');
    const bare = bareTpmPolicy('bare');
    const pcrs = Object.fromEntries(
      Object.entries(bare.reference.pcrs ?? {}).filter(([pcr]) => !['4', '8', '9'].includes(pcr)),
    );
    const initrd = createHash('sha256').update('an initial RAM disk').digest('hex');
    const file = createHash('sha256').update(image()).digest('hex');
    const seen = async (by: string) => {
      const policy = join(dir, 'policy.json');
      writeFileSync(policy, JSON.stringify({ ...bare, reference: { pcrs } }));
      const files = ['--kernel', join(dir, 'vmlinuz'), '--initrd', join(dir, 'initrd.img')];
      const ran = await run(
        'reference',
        'boot',
        '--by',
        by,
        ...files,
        '--command-line',
        'ro quiet',
        '--into',
        policy,
      );
      expect(ran.exit, ran.out + ran.err).toBe(0);
      const { reference } = parsePolicy(JSON.parse(readFileSync(policy, 'utf8')));
      return (reference.boot ?? []).map((one) => [
        one.pcr,
        one.class,
        ...one.values.map((value) => ('digest' in value ? value.digest : `${value.encoding} ${value.text}`)),
      ]);
    };
    const action = [4, 'action', 'utf-8 Calling EFI Application from Boot Option'];
    const kernel = [4, 'kernel', authenticodeDigest(image())];
    expect(await seen('efi-stub')).toEqual([
      action,
      kernel,
      [9, 'initrd', initrd],
      [9, 'command-line', 'utf-16le-nul ro quiet'],
    ]);
    expect(await seen('grub')).toEqual([
      action,
      kernel,
      [9, 'kernel', file],
      [9, 'initrd', initrd],
      [8, 'command-line', 'utf-8 ro quiet'],
    ]);
    expect((await run('reference', 'boot', '--into', join(dir, 'policy.json'))).exit).toBe(2);
  });
});
