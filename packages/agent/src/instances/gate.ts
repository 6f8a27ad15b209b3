import { type Digest, digestOf, type Json, KallioError, parseJson } from '@kallio/codec';
import type { InstanceVerb } from '@kallio/evidence';
import { checkRoot, type FileManifest, type HashCache, type ImageConfigClaims } from '@kallio/oci';
import { agentError } from '../error.ts';
import { checkAccount } from './accounts.ts';
import { type Confinement, checkRuntimeConfig } from './config-check.ts';
import type { KnownInstances } from './known.ts';
import type { InstanceLog } from './log.ts';
import { checkPlaces } from './places-check.ts';

/** An instance that the agent is about to start: what the runtime must then ask for. */
export interface Expected {
  readonly instance: string;
  readonly image: Digest;
  readonly claims: ImageConfigClaims;
  readonly fileManifest: Digest;
  readonly files: FileManifest;
}

/** A bundle's config.json is at most so long. */
const MAX_DOCUMENT = 1024 * 1024;

/**
 * Decides, for the runtime shim, whether a verb may go on; what may is in the instance log before the shim hears of it.
 */
export class Gate {
  readonly #log: InstanceLog;
  readonly #known: KnownInstances;
  readonly #confinement: Omit<Confinement, 'container'>;
  readonly #allowExec: boolean;
  readonly #expected = new Map<string, Expected>();
  readonly #refused = new Map<string, KallioError>();
  readonly #hashes: HashCache = new Map();

  constructor(parts: {
    readonly log: InstanceLog;
    readonly known: KnownInstances;
    readonly storage: { readonly root: string; readonly runRoot: string };
    readonly allowExec: boolean;
  }) {
    this.#log = parts.log;
    this.#known = parts.known;
    this.#confinement = { storage: parts.storage.root, runRoot: parts.storage.runRoot };
    this.#allowExec = parts.allowExec;
  }

  /** Announces an instance: one creation under its name is allowed until the returned function is called. */
  expect(expected: Expected): { readonly refusal: () => KallioError | undefined; readonly end: () => void } {
    const { instance } = expected;
    this.#expected.set(instance, expected);
    this.#refused.delete(instance);
    return {
      refusal: () => this.#refused.get(instance),
      end: () => {
        this.#expected.delete(instance);
        this.#refused.delete(instance);
      },
    };
  }

  /** Throws unless the verb may go on. `document` is the exact config.json or process document. */
  async decide(verb: InstanceVerb, container: string, document: Uint8Array): Promise<void> {
    switch (verb) {
      case 'create':
        return this.#create(container, document);
      case 'exec':
        return this.#exec(container, document);
      case 'start':
      case 'kill':
      case 'pause':
      case 'resume':
        return this.#lifecycle(verb, container);
      case 'delete':
        await this.#lifecycle(verb, container);
        return this.#known.remove(container);
      case 'update':
      case 'checkpoint':
      case 'restore':
        throw agentError('INSTANCE_VERB_FORBIDDEN', `The verb ${verb} is not allowed on this device.`);
    }
  }

  /** Files of running instances that are no longer what their images hold. Cheap while nothing changes. */
  async changedFiles(): Promise<{ container: string; path: string }[]> {
    const changed: { container: string; path: string }[] = [];
    for (const { container, root, fileManifest } of this.#known.all()) {
      const files = await this.#known.manifest(fileManifest);
      if (files === undefined || this.#log.containers.get(container)?.phase !== 'running') continue;
      // What an instance adds to its own root is its business; what it executes of that is seen in its processes.
      const difference = await checkRoot(root, files, this.#hashes).catch((error: unknown) => {
        // A root that is not mounted any more belongs to an instance that has ended.
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (difference === undefined) continue;
      for (const path of [...difference.changed, ...difference.missing]) changed.push({ container, path });
    }
    return changed.slice(0, 1024);
  }

  async #create(container: string, document: Uint8Array): Promise<void> {
    const json = parseJson(document, { maxBytes: MAX_DOCUMENT });
    const instance = annotation(json, 'kallio.instance');
    const expected = instance === undefined ? undefined : this.#expected.get(instance);
    // Attack: a container that nobody ordered, started through the shim.
    if (expected === undefined) {
      throw agentError(
        'INSTANCE_NOT_ORDERED',
        'Nobody ordered this container: only the agent starts instances here.',
      );
    }
    try {
      await this.#admit(expected, container, json, document);
    } catch (error) {
      if (error instanceof KallioError) this.#refused.set(expected.instance, error);
      throw error;
    }
  }

  async #admit(expected: Expected, container: string, json: Json, document: Uint8Array): Promise<void> {
    const approved = checkRuntimeConfig(json, expected.claims, { container, ...this.#confinement });
    const { root } = approved;
    await checkPlaces(approved);
    const difference = await checkRoot(root, expected.files, this.#hashes);
    const [first] = [...difference.changed, ...difference.missing, ...difference.added];
    // Attack: a file of the unpacked layers, edited in the engine's storage after the image was verified.
    if (first !== undefined) {
      throw agentError('INSTANCE_FILE_CHANGED', `${first} is not what the signed image holds.`, {
        pointer: `file:${first}`,
        hint: 'Somebody edited the engine’s storage. Remove the image from it and find out who.',
      });
    }
    await checkAccount(approved, expected.claims.user);
    const { instance, image, fileManifest } = expected;
    this.#expected.delete(instance);
    await this.#log.append({ verb: 'create', instance, container, image, config: digestOf(document) });
    await this.#known.add({ instance, container, image, fileManifest, root });
  }

  async #exec(container: string, document: Uint8Array): Promise<void> {
    const { instance, image } = this.#of(container);
    // Attack: a shell in an attested instance. By default nothing runs in it but what its image says.
    if (!this.#allowExec) {
      throw agentError(
        'INSTANCE_EXEC_FORBIDDEN',
        'This device lets nobody run further commands in an instance.',
      );
    }
    await this.#log.append({ verb: 'exec', instance, container, image, config: digestOf(document) });
  }

  async #lifecycle(verb: 'start' | 'kill' | 'pause' | 'resume' | 'delete', container: string): Promise<void> {
    const { instance, image } = this.#of(container);
    await this.#log.append({ verb, instance, container, image });
  }

  #of(container: string): { readonly instance: string; readonly image: string } {
    const logged = this.#log.containers.get(container);
    if (logged !== undefined) return logged;
    throw agentError('INSTANCE_UNKNOWN', 'This container was not created under the eyes of the agent.');
  }
}

function annotation(config: Json, name: string): string | undefined {
  if (typeof config !== 'object' || config === null || !('annotations' in config)) return undefined;
  const { annotations } = config;
  if (typeof annotations !== 'object' || annotations === null || !(name in annotations)) return undefined;
  const value = Object.entries(annotations).find(([key]) => key === name)?.[1];
  return typeof value === 'string' ? value : undefined;
}
