import { mkdir, open, rename, writeFile } from 'node:fs/promises';

/**
 * The five things a log does to a disk, each of them a point where a crash can strike. Paths are absolute. The
 * writer is correct on any disk that keeps what was synced and renames whole files or not at all.
 */
export interface Disk {
  /** Writes bytes at an offset of a file, which is made if need be. Durable only after {@link Disk.sync}. */
  write(path: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes a file that holds these bytes alone, whatever it held before. Durable only after {@link Disk.sync}. */
  create(path: string, bytes: Uint8Array): Promise<void>;
  /** Makes a file's bytes, or a directory's names, durable. */
  sync(path: string): Promise<void>;
  /** Puts a file in another's place, whole or not at all. Durable only after the directory is synced. */
  rename(from: string, to: string): Promise<void>;
  /** Makes a directory and those above it. */
  makeDirectory(path: string): Promise<void>;
}

/** The file system. */
export const fileSystem: Disk = {
  async write(path, offset, bytes) {
    const file = await openForWriting(path);
    try {
      let written = 0;
      while (written < bytes.length) {
        written += (await file.write(bytes, written, bytes.length - written, offset + written)).bytesWritten;
      }
    } finally {
      await file.close();
    }
  },
  create: writeFile,
  async sync(path) {
    const file = await open(path, 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  },
  rename,
  async makeDirectory(path) {
    await mkdir(path, { recursive: true });
  },
};

/** Never cuts a file short: it may hold committed bytes. */
async function openForWriting(path: string) {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return open(path, 'wx+');
    throw error;
  }
}
