import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Disk, fileSystem } from '../../src/index.ts';

/**
 * How a crash leaves the disk: `kept`: every operation before it took effect; `torn`: the write it struck was half
 * done; `lost`: a power cut, after which whatever was not synced is as it was before.
 */
export type CrashMode = 'kept' | 'torn' | 'lost';

/** The real file system until the n-th operation; then every operation fails, as after a crash. */
export class FaultDisk implements Disk {
  readonly #mode: CrashMode;
  #left: number;
  /** What unsynced files held before, to be put back by a power cut; undefined: there was no such file. */
  readonly #unsynced = new Map<string, Uint8Array | undefined>();
  readonly #unsyncedNames = new Map<string, Uint8Array | undefined>();

  constructor(operations: number, mode: CrashMode) {
    this.#left = operations;
    this.#mode = mode;
  }

  get crashed(): boolean {
    return this.#left < 0;
  }

  async write(path: string, offset: number, bytes: Uint8Array): Promise<void> {
    const struck = this.#strike();
    if (struck && this.#mode !== 'torn') throw new Error('crash');
    this.#remember(this.#unsynced, path);
    await fileSystem.write(path, offset, struck ? bytes.subarray(0, bytes.length / 2) : bytes);
    if (struck) throw new Error('crash');
  }

  async create(path: string, bytes: Uint8Array): Promise<void> {
    const struck = this.#strike();
    if (struck && this.#mode !== 'torn') throw new Error('crash');
    this.#remember(this.#unsynced, path);
    await fileSystem.create(path, struck ? bytes.subarray(0, bytes.length / 2) : bytes);
    if (struck) throw new Error('crash');
  }

  async sync(path: string): Promise<void> {
    if (this.#strike()) throw new Error('crash');
    await fileSystem.sync(path);
    this.#unsynced.delete(path);
    for (const name of this.#unsyncedNames.keys())
      if (dirname(name) === path) this.#unsyncedNames.delete(name);
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.#strike()) throw new Error('crash');
    this.#remember(this.#unsyncedNames, to);
    await fileSystem.rename(from, to);
  }

  async makeDirectory(path: string): Promise<void> {
    if (this.#strike()) throw new Error('crash');
    await fileSystem.makeDirectory(path);
  }

  /** The power is back: what was never made durable is gone. */
  settle(): void {
    if (this.#mode !== 'lost') return;
    for (const [path, bytes] of [...this.#unsynced, ...this.#unsyncedNames]) {
      if (bytes === undefined) rmSync(path, { force: true });
      else if (existsSync(dirname(path))) writeFileSync(path, bytes);
    }
  }

  #remember(where: Map<string, Uint8Array | undefined>, path: string): void {
    if (where.has(path)) return;
    const there = existsSync(path) && statSync(path).isFile();
    where.set(path, there ? new Uint8Array(readFileSync(path)) : undefined);
  }

  #strike(): boolean {
    if (this.#left < 0) throw new Error('crash');
    this.#left--;
    return this.#left < 0;
  }
}
