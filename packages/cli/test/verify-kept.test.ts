import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './support/program.ts';

/* On the real image of docs/examples, in a folder to which nothing of its signature was copied along. */

const examples = join(import.meta.dirname, '../../../docs/examples');
const policy = {
  ...JSON.parse(readFileSync(join(examples, 'image-policy.json'), 'utf8')),
  platform: 'linux/amd64',
};

let dir: string;
const file = (name: string) => join(dir, name);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-kept-'));
  cpSync(join(examples, 'layout'), file('layout'), { recursive: true });
  const index = JSON.parse(readFileSync(file('layout/index.json'), 'utf8'));
  const manifests = index.manifests.filter(
    (one: { artifactType?: string }) => one.artifactType === undefined,
  );
  writeFileSync(file('layout/index.json'), JSON.stringify({ ...index, manifests }));
  writeFileSync(file('policy.json'), JSON.stringify(policy));
});
afterAll(() => rmSync(dir, { recursive: true }));

async function verify(...flags: string[]) {
  const args = ['verify', `oci:${file('layout')}`, '--policy', file('policy.json'), ...flags, '--json'];
  const { exit, out } = await run(...args);
  const { refusal, digest, steps } = JSON.parse(out);
  return { exit, code: refusal?.code as string | undefined, digest: digest as string, steps };
}

describe('kallio verify --bundle', () => {
  const kept = join(examples, 'bundle.json');

  it('judges an image to which no signature is attached by the bundle that was kept, with no network', async () => {
    expect(await verify()).toMatchObject({ exit: 1, code: 'IMAGE_UNSIGNED' });
    const digest = digestOf(readFileSync(join(examples, 'manifest.json')));
    expect(await verify('--bundle', kept)).toMatchObject({ exit: 0, code: undefined, digest });
  });

  it('refuses a bundle that was changed, is none, or too large, in its step', async () => {
    const refused = async (name: string, code: string, step: string) => {
      const { steps, ...found } = await verify('--bundle', file(name));
      expect(found).toMatchObject({ exit: 1, code });
      expect(steps.at(-1)).toMatchObject({ step, ok: false });
    };
    const text = readFileSync(kept, 'utf8');
    writeFileSync(file('changed.json'), text.replace(/"integratedTime":\s*"\d/, '"integratedTime":"2'));
    await refused('changed.json', 'LOG_SET_INVALID', 'log-proof');
    writeFileSync(file('none.json'), '{}');
    await refused('none.json', 'BUNDLE_MEDIA_TYPE', 'bundle');
    writeFileSync(file('huge.json'), text);
    truncateSync(file('huge.json'), 186_000_000);
    await refused('huge.json', 'BUNDLE_TOO_LARGE', 'bundle');
    expect(await verify('--bundle', file('not-there'))).toMatchObject({ exit: 2 });
    expect(await verify('--bundle', kept)).toMatchObject({ exit: 0 });
  });

  it('says whose bundle it is, of an index', async () => {
    const { out } = await run('verify', '--help');
    expect(out.replaceAll(/\s+/g, ' ')).toContain('of an index, to the image that is taken from it');
  });
});

describe('kallio verify --proof', () => {
  it('is what is judged where the policy names witnesses', async () => {
    const kept = ['--bundle', join(examples, 'bundle.json')];
    const [log] = policy.logs;
    const id = (log.origin as string).replace(' - ', '/');
    const key = (type: number) => {
      const bytes = Buffer.concat([Buffer.of(type), Buffer.alloc(32, 7)]);
      const name = type === 1 ? id : 'w.example/1';
      const hash = digestOf(Buffer.concat([utf8(`${name}\n`), bytes])).slice(7, 15);
      return `${name}+${hash}+${bytes.toString('base64')}`;
    };
    writeFileSync(
      file('policy.json'),
      JSON.stringify({
        ...policy,
        logs: [{ ...log, verifierKey: key(1) }],
        witnesses: { quorum: 1, keys: [key(4)] },
      }),
    );
    expect(await verify(...kept)).toMatchObject({ exit: 1, code: 'WITNESS_PROOF_MISSING' });
    writeFileSync(file('proof'), 'no proof');
    expect(await verify(...kept, '--proof', file('proof'))).toMatchObject({
      exit: 1,
      code: 'LOG_PROOF_MALFORMED',
    });
    // The same without witnesses in the policy: a proof is not asked for.
    writeFileSync(file('policy.json'), JSON.stringify(policy));
    expect(await verify(...kept)).toMatchObject({ exit: 0 });
  });
});
