const ELF = [0x7f, 0x45, 0x4c, 0x46];
const SCRIPT = [0x23, 0x21];
const MODULE = /\.ko(?:\.(?:xz|zst|gz))?$/;
const MODULE_FOLDER = /^(?:\/usr)?\/lib\/(?:modules|firmware)\//;
const LIBRARY = /\.so(?:\.[0-9.]+)?$/;

/** How many first bytes of a file {@link isMeasurable} looks at. */
export const HEAD_BYTES = 4;

/**
 * True for a file that the kernel would execute, map as code, or load as module or firmware, so that IMA measures it
 * (BPRM_CHECK, MMAP_CHECK, MODULE_CHECK, FIRMWARE_CHECK): by permission, first bytes, name or place. `head` is left out
 * where content is not at hand. What IMA measures under FILE_CHECK (any file that root reads, in the policy `tcb`) is
 * every file: that is for whoever asks for all.
 */
export function isMeasurable(path: string, mode: number, head?: Uint8Array): boolean {
  if ((mode & 0o111) !== 0 || MODULE.test(path) || MODULE_FOLDER.test(path) || LIBRARY.test(path))
    return true;
  return head !== undefined && (startsWith(head, ELF) || startsWith(head, SCRIPT));
}

/** A kernel module that the kernel or kmod unpacks, by its suffix. */
export function moduleCompression(path: string): 'xz' | 'zst' | 'gz' | undefined {
  if (path.endsWith('.ko.xz')) return 'xz';
  if (path.endsWith('.ko.zst')) return 'zst';
  return path.endsWith('.ko.gz') ? 'gz' : undefined;
}

function startsWith(bytes: Uint8Array, prefix: readonly number[]): boolean {
  return prefix.every((byte, i) => bytes[i] === byte);
}
