import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { secretInto } from '../src/files.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const give = (path: string, make = async () => 'secret') => secretInto(path, make, (made) => made);

describe('a secret in a file', () => {
  it('is its owner’s only, whoever could read the file that was there before', async () => {
    const path = join(dir, 'token');
    writeFileSync(path, 'old');
    chmodSync(path, 0o644);
    // Left behind by a program that was killed, for all to read.
    writeFileSync(`${path}.new`, '');
    chmodSync(`${path}.new`, 0o666);
    expect(await give(path)).toBe('secret');
    expect(readFileSync(path, 'utf8')).toBe('secret\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(dir)).toEqual(['token']);
  });

  it('is not made where there is no place for it', async () => {
    writeFileSync(join(dir, 'file'), '');
    let made = false;
    const make = async () => {
      made = true;
      return 'secret';
    };
    await expect(give(join(dir, 'file/token'), make)).rejects.toMatchObject({ code: 'CLI_FILE' });
    expect(made).toBe(false);
    await give(join(dir, 'folder/token'), make);
    expect(made).toBe(true);
  });

  it('leaves the file that was there, and nothing else, when it can’t be made', async () => {
    const path = join(dir, 'token');
    writeFileSync(path, 'old');
    const refused = async () => {
      throw new Error('the server said no');
    };
    await expect(give(path, refused)).rejects.toThrow('the server said no');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(existsSync(`${path}.new`)).toBe(false);
  });
});
