/** A line of the kernel's mount table (proc(5), /proc/PID/mountinfo). */
export interface MountedAt {
  /** `major:minor` of the file system. */
  readonly device: string;
  /** What of the file system is mounted: `/`, or the folder or file in it. */
  readonly root: string;
  /** Where it is mounted. */
  readonly point: string;
  /** `ext4`, `tmpfs`, … */
  readonly type: string;
}

/** Reads the kernel's mount table. */
export function parseMountTable(mountinfo: string): MountedAt[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ');
      const [, , device = '', root = '', point = ''] = fields;
      // Optional fields, of which there may be any number, end with a hyphen by itself.
      const type = fields[fields.indexOf('-', 6) + 1] ?? '';
      return { device, root: unescaped(root), point: unescaped(point), type };
    });
}

/** The kernel writes space, tab, newline, backslash and # as octal numbers, so that a name can't make a line or a field. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
