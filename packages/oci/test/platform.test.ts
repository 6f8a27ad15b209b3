import { type Digest, digestOf, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import {
  childrenOf,
  type FoundManifest,
  hostPlatform,
  type ImageSource,
  indexClaims,
  MEDIA,
  parsePlatform,
  platformName,
  runsOn,
  walkImage,
} from '../src/index.ts';

const platform = (text: string) => parsePlatform(text) ?? expect.fail(text);

describe('a platform', () => {
  it.each([
    ['linux/amd64', 'linux/amd64/v1'],
    ['linux/arm64', 'linux/arm64/v8'],
    ['linux/arm64', 'linux/arm64/v8.0'],
    ['linux/arm64', 'linux/arm64/8'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/v6', 'linux/arm/6'],
    ['linux/arm64/v9', 'linux/arm64/v9.0'],
  ])('%s is the same as %s', (one, other) => {
    expect(platformName(platform(one))).toBe(platformName(platform(other)));
    expect(platformName({ ...platform(one), variant: platform(one).variant ?? '' })).toBe(
      platformName(platform(one)),
    );
  });

  it.each([
    ['linux/amd64', 'linux/amd64/v2'],
    ['linux/arm64', 'linux/arm64/v8.1'],
    ['linux/arm64', 'linux/arm/v8'],
    ['linux/arm', 'linux/arm/v6'],
    ['linux/arm/v7', 'linux/arm/v7.0x'],
    ['linux/riscv64', 'linux/riscv64/rva22u64'],
  ])('%s is another than %s', (one, other) => {
    expect(platformName(platform(one))).not.toBe(platformName(platform(other)));
  });

  it.each(['linux', 'linux/', '/amd64', 'linux/arm/', 'linux/arm/v7/x', 'Linux/amd64', 'linux/am d64', ''])(
    'is not written "%s"',
    (text) => {
      expect(parsePlatform(text)).toBeUndefined();
    },
  );

  it('of this machine is one that Go has a name for', () => {
    expect(platform(platformName(hostPlatform())).os).toBe('linux');
    expect(hostPlatform().architecture).not.toBe('x64');
  });
});

describe('an image', () => {
  it.each([
    ['linux/arm/v6', 'linux/arm/v7'],
    ['linux/arm/v5', 'linux/arm'],
    ['linux/arm64', 'linux/arm64/v8.4'],
    ['linux/arm64/v8.5', 'linux/arm64/v9'],
    ['linux/amd64', 'linux/amd64/v3'],
    ['linux/riscv64/rva22u64', 'linux/riscv64/rva22u64'],
  ])('for %s runs on %s, and one for that not on the first, unless they are the same', (image, machine) => {
    expect(runsOn(platform(image), platform(machine))).toBe(true);
    expect(runsOn(platform(machine), platform(image))).toBe(image === machine);
  });

  it.each([
    ['linux/arm/v7', 'linux/arm64'],
    ['linux/386', 'linux/amd64'],
    ['linux/arm64/v8.6', 'linux/arm64/v9'],
    ['linux/amd64/v2', 'linux/amd64'],
    ['linux/riscv64/rva22u64', 'linux/riscv64'],
    ['windows/amd64', 'linux/amd64'],
  ])('for %s does not run on %s', (image, machine) => {
    expect(runsOn(platform(image), platform(machine))).toBe(false);
  });
});

const json = (value: unknown) => utf8(JSON.stringify(value));
const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

/** Images, and what goes with them, in one index. */
class Images implements ImageSource {
  readonly #content = new Map<string, Uint8Array>();
  #index: unknown[] = [];

  /** An image for a platform; the index may say of another, in other words. */
  add(is: string, says: object = platform(is)): Digest {
    const config = json({ ...platform(is), rootfs: { type: 'layers', diff_ids: [] }, image: is });
    const manifest = { schemaVersion: 2, config: described(MEDIA.config, config), layers: [] };
    return this.entry(manifest, { platform: says }, config);
  }

  entry(manifest: object, says: object, config: Uint8Array): Digest {
    const bytes = json(manifest);
    this.#content.set(digestOf(config), config).set(digestOf(bytes), bytes);
    this.#index.push({ ...described(MEDIA.manifest, bytes), ...says });
    return digestOf(bytes);
  }

  get top(): FoundManifest {
    const bytes = json({ schemaVersion: 2, mediaType: MEDIA.index, manifests: this.#index });
    return { bytes, digest: digestOf(bytes), mediaType: MEDIA.index };
  }

  async manifest(reference: string): Promise<FoundManifest> {
    const bytes = this.#content.get(reference);
    return bytes === undefined ? this.top : { bytes, digest: digestOf(bytes), mediaType: MEDIA.manifest };
  }
  async blob({ digest }: { readonly digest: Digest }): Promise<Uint8Array> {
    return this.#content.get(digest) ?? expect.fail(digest);
  }
  async stream(): Promise<AsyncIterable<Uint8Array>> {
    return expect.fail('no layer is read');
  }

  /** What a machine takes; the code of a refusal. */
  async taken(machine: string): Promise<string> {
    return walkImage(this, 'latest', platform(machine)).then(
      ({ manifest }) => manifest.digest,
      (error: { code: string }) => error.code,
    );
  }
}

describe('of an index', () => {
  it('over variants, a machine takes its own image, or else the nearest that runs there', async () => {
    const images = new Images();
    const [v6, v7, arm64] = [
      images.add('linux/arm/v6'),
      images.add('linux/arm/v7'),
      images.add('linux/arm64'),
    ];
    expect(await images.taken('linux/arm/v6')).toBe(v6);
    expect(await images.taken('linux/arm/v7')).toBe(v7);
    expect(await images.taken('linux/arm')).toBe(v7);
    expect(await images.taken('linux/arm/v8')).toBe(v7);
    expect(await images.taken('linux/arm/v5')).toBe('OCI_PLATFORM');
    expect(await images.taken('linux/arm64/v8')).toBe(arm64);
    expect(await images.taken('linux/arm64/v9.2')).toBe(arm64);
    expect(await images.taken('linux/amd64')).toBe('OCI_PLATFORM');
    expect(indexClaims(images.top.bytes, MEDIA.index).index).toHaveLength(3);
  });

  it('that names one platform in two ways, nothing is taken', async () => {
    const images = new Images();
    const first = images.add('linux/arm64');
    expect(await images.taken('linux/arm64')).toBe(first);
    images.add('linux/arm64/v8');
    expect(await images.taken('linux/arm64')).toBe('OCI_PLATFORM');
    expect(() => indexClaims(images.top.bytes, MEDIA.index)).toThrow(
      expect.objectContaining({ code: 'OCI_PLATFORM' }),
    );
  });

  it('that calls an image one of a variant which it is not, it is not taken', async () => {
    const images = new Images();
    const honest = images.add('linux/arm/v7', { os: 'linux', architecture: 'arm' });
    images.add('linux/arm/v7', platform('linux/arm/v6'));
    expect(await images.taken('linux/arm/v7')).toBe(honest);
    expect(await images.taken('linux/arm/v6')).toBe('OCI_PLATFORM');
  });

  it('whose platform is none that could be written down, nothing is signed', () => {
    const images = new Images();
    images.add('linux/amd64/v2', { os: 'linux', architecture: 'amd64/v2' });
    expect(() => indexClaims(images.top.bytes, MEDIA.index)).toThrow(
      expect.objectContaining({ code: 'OCI_PLATFORM' }),
    );
    const honest = new Images();
    honest.add('linux/amd64/v2');
    expect(indexClaims(honest.top.bytes, MEDIA.index).index).toMatchObject([{ variant: 'v2' }]);
  });
});

const UNKNOWN = { os: 'unknown', architecture: 'unknown' };
const STATEMENT = 'application/vnd.in-toto+json';

describe('an attestation manifest of BuildKit', () => {
  const statement = utf8('{"_type":"https://in-toto.io/Statement/v1"}');
  const empty = utf8('{}');
  const about = (digest: string, type = 'attestation-manifest') => ({
    platform: UNKNOWN,
    annotations: { 'vnd.docker.reference.type': type, 'vnd.docker.reference.digest': digest },
  });
  const holding = (subject: string, changes: object = {}) => ({
    schemaVersion: 2,
    artifactType: 'application/vnd.docker.attestation.manifest.v1+json',
    config: described(MEDIA.empty, empty),
    layers: [described(STATEMENT, statement)],
    subject: { mediaType: MEDIA.manifest, digest: subject, size: 1 },
    ...changes,
  });
  const code = async (made: Images) => {
    try {
      indexClaims(made.top.bytes, MEDIA.index);
      await childrenOf(made, made.top);
      return undefined;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  /** An index as buildx leaves it: two images, and a manifest of statements about each. */
  function beside(change: (images: Images, ours: Digest, theirs: Digest) => void): Images {
    const images = new Images();
    const [ours, theirs] = [images.add('linux/amd64'), images.add('linux/arm64')];
    change(images, ours, theirs);
    return images;
  }

  it('is named by the index, and is no image of it', async () => {
    const images = beside((to, ours, theirs) => {
      for (const one of [ours, theirs]) to.entry(holding(one), about(one), empty);
    });
    expect(await code(images)).toBeUndefined();
    expect(indexClaims(images.top.bytes, MEDIA.index).index.slice(2)).toMatchObject([UNKNOWN, UNKNOWN]);
    expect(await images.taken('linux/arm64')).toMatch(/^sha256:/);
    expect(await images.taken('unknown/unknown')).toBe('OCI_PLATFORM');
    // As older ones leave it: with a configuration of an image, and without a subject.
    const config = json({ ...UNKNOWN, rootfs: { type: 'layers', diff_ids: [digestOf(statement)] } });
    const older = { config: described(MEDIA.config, config), subject: undefined };
    expect(await code(beside((to, ours) => to.entry(holding(ours, older), about(ours), config)))).toBe(
      undefined,
    );
  });

  it('may be about several images, each of which it is about once', async () => {
    // So BuildKit does, where images have no name: its statements about each say the same.
    const shared = holding('', { subject: undefined });
    const both = (to: Images, ours: Digest, theirs: Digest) => {
      for (const one of [ours, theirs]) to.entry(shared, about(one), empty);
    };
    expect(await code(beside(both))).toBeUndefined();
    const twice = beside((to, ours, theirs) => {
      both(to, ours, theirs);
      to.entry(shared, about(ours), empty);
    });
    expect(await code(twice)).toBe('OCI_PLATFORM');
  });

  it('is no image of the same index elsewhere', async () => {
    // Attack: an image that some take for one, and others pass over.
    const image = { schemaVersion: 2, config: described(MEDIA.empty, empty), layers: [] };
    const made = (alsoImage: boolean) =>
      beside((to, ours) => {
        to.entry(image, about(ours), empty);
        if (alsoImage) to.entry(image, { platform: platform('linux/s390x') }, empty);
      });
    expect(await code(made(true))).toBe('OCI_PLATFORM');
    expect(await code(made(false))).toBeUndefined();
  });

  it.each<[string, (ours: Digest) => object]>([
    ['has a layer that could be unpacked', () => ({ layers: [described(MEDIA.layer, statement)] })],
    [
      'has a statement without end',
      () => ({ layers: [{ ...described(STATEMENT, statement), size: 2 ** 40 }] }),
    ],
    ['is configured as something else', () => ({ config: described('application/x', empty) })],
    ['is about another image', () => ({ subject: described(MEDIA.manifest, empty) })],
  ])('is refused where it %s', async (_, changes) => {
    const made = beside((to, ours) => to.entry(holding(ours, changes(ours)), about(ours), empty));
    expect(await code(made)).toBe('OCI_MANIFEST');
    expect(await code(beside((to, ours) => to.entry(holding(ours), about(ours), empty)))).toBeUndefined();
  });

  it('is refused where it is about no image of the index, or of nothing else there', async () => {
    const elsewhere = digestOf(utf8('elsewhere'));
    expect(await code(beside((to) => to.entry(holding(elsewhere), about(elsewhere), empty)))).toBe(
      'OCI_MANIFEST',
    );
    const alone = new Images();
    alone.entry(holding(elsewhere), about(elsewhere), empty);
    expect(await code(alone)).toBe('OCI_MANIFEST');
  });

  it('of another type is an image like any other, for a platform that two can’t have', async () => {
    const made = beside((to, ours) => {
      to.entry(holding(ours), about(ours, 'something-else'), empty);
      to.entry(holding(ours, { annotations: { a: 'b' } }), about(ours, 'something-else'), empty);
    });
    expect(await code(made)).toBe('OCI_PLATFORM');
  });
});
