import { join } from 'node:path';
import { type Digest, DigestSchema, decodeShape, Exact, parseJson } from '@kallio/codec';
import { type FileManifest, fileManifestBytes, parseFileManifest } from '@kallio/oci';
import { type Static, Type } from 'typebox';
import { readIfThere, removeUnfinished, writeDurably } from '../files.ts';

const KnownInstance = Exact({
  instance: Type.String(),
  container: Type.String(),
  image: DigestSchema,
  /** Digest of the image's file manifest. */
  fileManifest: DigestSchema,
  /** Where its root file system is mounted. */
  root: Type.String(),
});
/** An instance that was let start here. */
export type KnownInstance = Static<typeof KnownInstance>;

const KnownFile = Exact({ instances: Type.Array(KnownInstance) });

/** What must outlive the agent's process so that instances go on being checked: roots and reference values. */
export class KnownInstances {
  readonly #dir: string;
  readonly #byContainer: Map<string, KnownInstance>;
  readonly #manifests = new Map<string, FileManifest>();

  private constructor(dir: string, instances: readonly KnownInstance[]) {
    this.#dir = dir;
    this.#byContainer = new Map(instances.map((one) => [one.container, one]));
  }

  static async open(dir: string): Promise<KnownInstances> {
    await removeUnfinished(manifestsIn(dir));
    const bytes = await readIfThere(join(dir, 'instances.json'));
    if (bytes === undefined) return new KnownInstances(dir, []);
    return new KnownInstances(
      dir,
      decodeShape(KnownFile, parseJson(bytes), 'AGENT_CONFIG', 'instances.json').instances,
    );
  }

  all(): readonly KnownInstance[] {
    return [...this.#byContainer.values()];
  }

  byContainer(container: string): KnownInstance | undefined {
    return this.#byContainer.get(container);
  }

  byInstance(instance: string): KnownInstance | undefined {
    return this.all().find((one) => one.instance === instance);
  }

  /** Keeps a file manifest; named by its digest. */
  async keepManifest(digest: Digest, manifest: FileManifest): Promise<void> {
    this.#manifests.set(digest, manifest);
    await writeDurably(this.#manifestPath(digest), fileManifestBytes(manifest));
  }

  async manifest(digest: string): Promise<FileManifest | undefined> {
    const known = this.#manifests.get(digest);
    if (known !== undefined) return known;
    const bytes = await readIfThere(this.#manifestPath(digest));
    if (bytes === undefined) return undefined;
    const manifest = parseFileManifest(bytes);
    this.#manifests.set(digest, manifest);
    return manifest;
  }

  async add(instance: KnownInstance): Promise<void> {
    this.#byContainer.set(instance.container, instance);
    await this.#save();
  }

  async remove(container: string): Promise<void> {
    if (this.#byContainer.delete(container)) await this.#save();
  }

  #manifestPath(digest: string): string {
    return join(manifestsIn(this.#dir), `${digest.slice('sha256:'.length)}.json`);
  }

  async #save(): Promise<void> {
    await writeDurably(join(this.#dir, 'instances.json'), JSON.stringify({ instances: this.all() }));
  }
}

function manifestsIn(dir: string): string {
  return join(dir, 'file-manifests');
}
