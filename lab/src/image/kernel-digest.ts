import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';

/** QEMU's `-m 1024`, without what its ACPI tables take at the end (hw/i386/x86.c, `acpi_data_size`). */
const INITRD_MAX = 1024 * 1024 * 1024 - 0x28000 - 1;
const PAGE = 4096;

/**
 * The SHA-256 that the firmware measures of a kernel that QEMU hands it (`-kernel`): the Authenticode digest of the PE
 * image, after QEMU, as the boot loader, has filled in the header of the Linux boot protocol. The header tells where the
 * initrd lies, so the digest depends on the initrd's size as well.
 *
 * Sources: Linux Documentation/x86/boot.rst; QEMU hw/i386/x86.c, x86_load_linux(); Windows Authenticode Portable
 * Executable Signature Format, "Calculating the PE Image Hash".
 */
export async function kernelDigest(kernel: string, initrd: string): Promise<string> {
  const image = await readFile(kernel);
  const size = (await stat(initrd)).size;
  image.writeUInt8(0xb0, 0x210); // type_of_loader: QEMU
  image.writeUInt8(image.readUInt8(0x211) | 0x80, 0x211); // loadflags: CAN_USE_HEAP
  image.writeUInt16LE(0xfe00, 0x224); // heap_end_ptr
  image.writeUInt32LE(0x20000, 0x228); // cmd_line_ptr
  image.writeUInt32LE(Math.floor((INITRD_MAX - size) / PAGE) * PAGE, 0x218); // ramdisk_image
  image.writeUInt32LE(size, 0x21c); // ramdisk_size
  return authenticode(image);
}

/** Everything but the checksum, the entry of the certificate table, and the certificates themselves. */
function authenticode(image: Buffer): string {
  const optional = image.readUInt32LE(0x3c) + 24;
  const pe32plus = image.readUInt16LE(optional) === 0x20b;
  const checksum = optional + 64;
  const certificates = optional + (pe32plus ? 112 : 96) + 4 * 8;
  const table = image.readUInt32LE(certificates);
  return createHash('sha256')
    .update(image.subarray(0, checksum))
    .update(image.subarray(checksum + 4, certificates))
    .update(image.subarray(certificates + 8, table === 0 ? image.length : table))
    .digest('hex');
}
