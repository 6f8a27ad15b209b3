import { createHash } from 'node:crypto';
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { concat, sha256, toHex, utf8 } from '@kallio/codec';
import { pcrExtend, readPcrs, Tpm } from '@kallio/tpm';
import { type Boot, measureBoot } from './firmware.ts';

const AGGREGATED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/**
 * The part of a kernel that measures, for a machine whose own does not (IMA): it writes the list in the kernel's binary
 * form where an agent is told to look, and extends PCR 10 of the machine's TPM by each entry. What it lists is genuine to
 * that TPM; that a kernel does the same is shown on machines that have one.
 */
export class MeasuringKernel {
  readonly #dir: string;
  readonly #tpm: string;
  #count = 0;

  constructor(dir: string, tpm: string) {
    this.#dir = dir;
    this.#tpm = tpm;
  }

  get paths() {
    return {
      firmware: join(this.#dir, 'binary_bios_measurements'),
      ima: join(this.#dir, 'binary_runtime_measurements'),
      imaCount: join(this.#dir, 'runtime_measurements_count'),
    };
  }

  /** A boot: what is started is measured, where the machine has firmware; the list begins with the aggregate of it. */
  async boot(started?: Boot): Promise<void> {
    this.#count = 0;
    const values = await this.#withTpm(async (tpm) => {
      if (started !== undefined) await writeFile(this.paths.firmware, await measureBoot(tpm, started));
      return readPcrs(tpm, 'sha256', AGGREGATED);
    });
    await writeFile(this.paths.ima, '');
    await this.#measure([['boot_aggregate', sha256(...values.values())]]);
  }

  /** A program is executed for the first time. */
  execute(path: string, content: string): Promise<void> {
    return this.#measure([[path, sha256(utf8(content))]]);
  }

  /** Files `from` to `to` of a made-up file system are used for the first time. */
  use(from: number, to: number): Promise<void> {
    return this.#measure(
      Array.from({ length: to - from }, (_, i) => [`/usr/bin/tool-${from + i}`, contentOf(from + i)]),
    );
  }

  #measure(files: readonly (readonly [string, Uint8Array])[]): Promise<void> {
    return this.#withTpm(async (tpm) => {
      const entries: Uint8Array[] = [];
      for (const [name, digest] of files) {
        const fields = [concat(utf8('sha256:\0'), digest), utf8(`${name}\0`)];
        const data = concat(...fields.flatMap((field) => [u32(field.length), field]));
        const sha1 = new Uint8Array(createHash('sha1').update(data).digest());
        entries.push(concat(u32(10), sha1, u32(6), utf8('ima-ng'), u32(data.length), data));
        await pcrExtend(tpm, 10, [['sha256', sha256(data)]]);
      }
      await appendFile(this.paths.ima, concat(...entries));
      this.#count += files.length;
      await writeFile(this.paths.imaCount, `${this.#count}\n`);
    });
  }

  async #withTpm<T>(work: (tpm: Tpm) => Promise<T>): Promise<T> {
    const tpm = Tpm.open(this.#tpm);
    try {
      return await work(tpm);
    } finally {
      await tpm.close();
    }
  }
}

/** SHA-256 of a file of the made-up file system. */
function contentOf(file: number): Uint8Array {
  return sha256(utf8(`the content of tool ${file}`));
}

/** Reference values of so many files, hexadecimal. */
export function referenceValues(files: number): string[] {
  return Array.from({ length: files }, (_, i) => toHex(contentOf(i)));
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
