import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bareTpmPolicy, referenceSetOf } from '@kallio/appraisal';
import { type Digest, digestOf, sha256, utf8 } from '@kallio/codec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { initServer } from '../src/index.ts';
import { readPolicyFile } from '../src/setup/policy-file.ts';

const ONE = sha256(utf8('one file'));
const SET = referenceSetOf('file', 32, [ONE]).toBytes();
const DIGEST = digestOf(SET);

describe('a policy file', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'kallio-policy-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  /** A policy that names a set, and the file beside it. */
  function write(content: Uint8Array | undefined, named = { digest: DIGEST, bytes: SET.length }): string {
    const path = join(dir, 'given', 'device.json');
    const { reference, ...rest } = bareTpmPolicy('device-1', 'device');
    const classes = [{ name: 'host', sets: [{ name: 'debian', ...named }] }];
    mkdirSync(join(dirname(path), 'sets'), { recursive: true });
    writeFileSync(path, JSON.stringify({ ...rest, reference: { ...reference, ima: { classes } } }));
    if (content !== undefined) writeFileSync(setPath(dirname(path), named.digest), content);
    return path;
  }

  it('brings the reference sets that it names, from the folder beside it', () => {
    const { policy, sets } = readPolicyFile(write(SET));
    expect(policy.id).toBe('device-1');
    expect(sets.get(DIGEST)?.has(ONE)).toBe(true);
  });

  const longer = new Uint8Array([...SET, 0]);
  const other = SET.with(-1, (SET.at(-1) ?? 0) ^ 1);
  it.each<[string, Uint8Array | undefined, { digest: Digest; bytes: number } | undefined]>([
    ['is missing', undefined, undefined],
    ['is longer than named', longer, undefined],
    ['has another byte', other, undefined],
    ['is no reference set', longer, { digest: digestOf(longer), bytes: longer.length }],
  ])('is refused where a set %s, and the server is not made', async (_, content, named) => {
    const path = write(content, named);
    const refusal = { code: 'CONFIG_INVALID', message: expect.stringContaining('.kref') };
    expect(() => readPolicyFile(path)).toThrow(expect.objectContaining(refusal));
    await expect(init(path)).rejects.toMatchObject(refusal);
  });

  it('is copied with its sets when a server is made', async () => {
    await init(write(SET));
    const { sets } = readPolicyFile(join(dir, 'data', 'policies', 'device.json'));
    expect([...sets.keys()]).toEqual([DIGEST]);
  });

  function init(devicePolicy: string) {
    return initServer({
      dataDir: join(dir, 'data'),
      ekRoots: [],
      devicePolicy,
      listen: '127.0.0.1:0',
      names: ['localhost'],
      trustDomain: 'edge.test',
      issuer: 'verifier.edge.test',
      log: { name: 'log.edge.test' },
    });
  }
});

function setPath(folder: string, digest: Digest): string {
  return join(folder, 'sets', `${digest.slice('sha256:'.length)}.kref`);
}
