import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './support/program.ts';

/* On the real image of docs/examples, which a build on a software TPM has left there. */

const examples = join(import.meta.dirname, '../../../docs/examples');
const image = `oci:${join(examples, 'layout')}`;
const policy = {
  ...JSON.parse(readFileSync(join(examples, 'image-policy.json'), 'utf8')),
  platform: 'linux/amd64',
};

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-explain-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Explained {
  readonly ok: boolean;
  readonly refusal?: { code: string; pointer?: string; hint?: string; shows: string[] };
  readonly wants: { rule: string; wants: string; held?: boolean }[];
}

async function explain(changes: object): Promise<{ exit: number; json: Explained; text: string }> {
  const file = join(dir, 'policy.json');
  writeFileSync(file, JSON.stringify({ ...policy, ...changes }));
  const { exit, out } = await run('explain', image, '--policy', file, '--json');
  const { out: text } = await run('explain', image, '--policy', file);
  return { exit, json: JSON.parse(out), text };
}

describe('kallio explain IMAGE --policy FILE', () => {
  it('says of an image that may run what the policy wanted, and that it held', async () => {
    const require = { nonRoot: true, fileManifest: true, labels: { 'org.opencontainers.image.source': [] } };
    const { exit, json, text } = await explain({ require, revoked: [{ builder: 'b2', reason: 'x' }] });
    expect(exit).toBe(0);
    expect(json.ok).toBe(true);
    expect(json.wants.map(({ rule, held }) => [rule, held])).toEqual(
      [
        ...['logs', 'issuer', 'builders', 'tiers', 'platform'],
        ...['require.labels', 'require.nonRoot', 'require.fileManifest', 'revoked'],
      ].map((rule) => [rule, true]),
    );
    expect(text).toContain('may run');
  });

  it('shows the claim that decided it, and says what to do next', async () => {
    const label = 'org.opencontainers.image.source';
    const { exit, json, text } = await explain({
      require: { nonRoot: true, labels: { [label]: ['https://git.example.org/other'] } },
      revoked: [{ builder: 'b2', reason: 'x' }],
    });
    expect(exit).toBe(1);
    expect(json.refusal).toMatchObject({
      code: 'CLAIM_LABEL',
      pointer: `/predicate/image/labels/${label}`,
      shows: [`/predicate/image/labels/${label}: "https://git.example.org/shop/greeting"`],
      hint: expect.stringContaining('https://git.example.org/other'),
    });
    const held = (rule: string) => json.wants.find((one) => one.rule === rule)?.held;
    expect([held('builders'), held('require.labels'), held('revoked')]).toEqual([true, false, undefined]);
    expect(text).toContain('✘ require.labels');
    expect(text).toContain('– revoked');
  });

  it('says of a key that opens without an approval what to do about it', async () => {
    const signingAuthority = [`000b${'0'.repeat(64)}`];
    const { json } = await explain({ require: { nonRoot: true, signingAuthority } });
    expect(json.refusal).toMatchObject({
      code: 'CLAIM_SIGNING_AUTHORITY',
      pointer: '/predicate/buildEnvironment/akCertification/key',
      hint: expect.stringContaining('under the operator’s approvals'),
    });
    expect(json.wants.filter(({ held }) => held === false).map(({ rule }) => rule)).toEqual([
      'require.signingAuthority',
    ]);
    expect((await explain({ require: { nonRoot: true } })).json.ok).toBe(true);
  });

  it('shows the rule of the policy that decided it', async () => {
    const { json } = await explain({
      revoked: [{ builder: 'build-1', reason: 'broken into on 3 November' }],
    });
    expect(json.refusal).toMatchObject({
      code: 'REVOKED_BUILDER',
      pointer: 'policy:/revoked/0',
      shows: ['/revoked/0: {"builder":"build-1","reason":"broken into on 3 November"}'],
      hint: 'Build the image again on another build host.',
    });
    expect(
      (await explain({ revoked: [{ builder: 'build-1', reason: 'x', since: '2036-01-01T00:00:00Z' }] })).json
        .ok,
    ).toBe(true);
  });

  it('says of an image for another platform that this is the rule', async () => {
    const { json } = await explain({ platform: 'linux/arm64' });
    expect(json.refusal?.code).toBe('OCI_PLATFORM');
    expect(json.wants.filter(({ held }) => held === false).map(({ rule }) => rule)).toEqual(['platform']);
  });

  it('says of a policy that can’t be used where it is wrong, as unusable input', async () => {
    const { exit, json } = await explain({ witnesses: { quorum: 1, keys: ['nonsense+with+signs'] } });
    expect(exit).toBe(2);
    expect(json).toMatchObject({ error: { code: 'IMAGE_POLICY_INVALID', pointer: '/logs/0/verifierKey' } });
  });
});
