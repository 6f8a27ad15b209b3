/** What an image runs on, as Go and OCI name it (image specification 1.1, "Image Index": `platform`). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Of the processor ("Platform Variants"). Absent, it is the architecture's usual one. */
  readonly variant?: string;
}

/** `os/architecture`, or `os/architecture/variant`, as it is written in policies and on command lines. */
export const PLATFORM_PATTERN = '^[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9.]+)?$';

const PLATFORM = new RegExp(PLATFORM_PATTERN);

/** The platform of a text; undefined where it is of another form than {@link PLATFORM_PATTERN}. */
export function parsePlatform(text: string): Platform | undefined {
  if (!PLATFORM.test(text)) return undefined;
  const [os = '', architecture = '', variant] = text.split('/');
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

/** Whether a platform could be written down and read again as itself. Attack: `amd64/v2` for an architecture. */
export function isPlatform({ os, architecture, variant = '' }: Platform): boolean {
  const read = parsePlatform(variant === '' ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`);
  return read?.os === os && read.architecture === architecture;
}

/**
 * The variant that a platform without one is of. The specification names none; engines agree on these
 * (containerd/platforms, "Normalization": arm64 is v8, arm is v7, amd64 is v1).
 */
const USUAL: ReadonlyMap<string, string> = new Map([
  ['arm64', 'v8'],
  ['arm', 'v7'],
  ['amd64', 'v1'],
]);

/** The variant of a platform, written one way: `8`, `v8`, `v8.0` and nothing are all arm64's `v8`. */
function variantOf({ architecture, variant = '' }: Platform): string {
  const usual = USUAL.get(architecture);
  if (usual === undefined) return variant;
  if (variant === '') return usual;
  const [, major, minor = ''] = /^v?([1-9]\d?)(\.\d{1,2})?$/.exec(variant) ?? [];
  if (major === undefined) return variant;
  return `v${major}${minor === '.0' ? '' : minor}`;
}

/**
 * A platform's one name: `linux/arm/v7`, `linux/arm64`. The usual variant is left out where everybody leaves it out, as
 * containerd's canonical form does; two platforms are the same where their names are.
 */
export function platformName(platform: Platform): string {
  const { os, architecture } = platform;
  const variant = variantOf(platform);
  const unsaid = variant === '' || (architecture !== 'arm' && variant === USUAL.get(architecture));
  return unsaid ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** The platform of this machine. Of its processor only what every one of its architecture can do is taken for granted. */
export function hostPlatform(): Platform {
  const architecture = ARCHITECTURES.get(process.arch) ?? process.arch;
  const version =
    'arm_version' in process.config.variables ? process.config.variables.arm_version : undefined;
  // What this Node was made for, the processor can do.
  const variant = architecture === 'arm' && /^[5-8]$/.test(String(version)) ? { variant: `v${version}` } : {};
  return { os: 'linux', architecture, ...variant };
}

/** Where Node calls an architecture other than Go does. */
const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['ppc64', 'ppc64le'],
  ['mipsel', 'mipsle'],
]);

/** Whether an image for one platform runs on a machine of another: the same, or one whose processor can do more. */
export function runsOn(image: Platform, machine: Platform): boolean {
  if (!sameButVariant(image, machine)) return false;
  return image.variant === machine.variant || variantsFor(machine).includes(variantOf(image));
}

/** Those of an index's entries that a machine takes an image from: the nearest to it that there are. One, in an honest index. */
export function nearest<T extends { readonly platform?: Platform }>(
  entries: readonly T[],
  machine: Platform,
): readonly T[] {
  for (const variant of variantsFor(machine)) {
    const found = entries.filter(
      ({ platform }) =>
        platform !== undefined && sameButVariant(platform, machine) && variantOf(platform) === variant,
    );
    if (found.length > 0) return found;
  }
  return [];
}

function sameButVariant(one: Platform, other: Platform): boolean {
  return one.os === other.os && one.architecture === other.architecture;
}

/** The variants that a machine runs, its own first, as containerd's `platforms.Only` orders them. */
function variantsFor(machine: Platform): readonly string[] {
  const own = variantOf(machine);
  const [, majorText, minorText = '0'] = /^v(\d{1,2})(?:\.(\d{1,2}))?$/.exec(own) ?? [];
  if (majorText === undefined) return [own];
  const [major, minor] = [Number(majorText), Number(minorText)];
  switch (machine.architecture) {
    case 'arm':
      return downFrom(major, 5, (n) => `v${n}`);
    case 'amd64':
      return downFrom(major, 1, (n) => `v${n}`);
    case 'arm64': {
      // Armv9.x is Armv8.(x+5) and more.
      const eight = major === 9 ? minor + 5 : minor;
      const nine = major === 9 ? downFrom(minor, 0, (n) => dotted(9, n)) : [];
      return major === 8 || major === 9 ? [...nine, ...downFrom(eight, 0, (n) => dotted(8, n))] : [own];
    }
    default:
      return [own];
  }
}

function downFrom(first: number, last: number, name: (n: number) => string): readonly string[] {
  return Array.from({ length: Math.max(first - last + 1, 0) }, (_, i) => name(first - i));
}

function dotted(major: number, minor: number): string {
  return minor === 0 ? `v${major}` : `v${major}.${minor}`;
}
