import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifyEar } from '@kallio/appraisal';
import { evidenceSubmit, resultShow, trustShow } from '@kallio/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admitted } from './fixture-attester.ts';
import { policies } from './fixture-policies.ts';
import { configure, type TestServer, testServer } from './fixture-server.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

let dir: string;
let maker: Maker;
let tpm: TestTpm;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-endorsers-'));
  maker = new Maker(join(dir, 'maker'));
  tpm = await maker.make('tpm');
});
afterAll(async () => {
  await tpm.powerOff();
  rmSync(dir, { recursive: true });
});

/** A server whose configuration speaks of roots so. */
function serverWith(
  endorsers: readonly { root: string; kind: string; reason: string }[],
): Promise<TestServer> {
  return testServer({ ekRoots: maker.roots, ...policies(dir) }, (dataDir) => {
    const { enrolment } = JSON.parse(readFileSync(join(dataDir, 'config.json'), 'utf8'));
    configure(dataDir, { enrolment: { ...enrolment, endorsers } });
  });
}

/** Fingerprints of the software TPMs' authorities, as an operator reads them. */
function fingerprints(): string[] {
  return maker.roots.map((path) => {
    const { raw } = new X509Certificate(readFileSync(path));
    return createHash('sha256').update(raw).digest('hex');
  });
}

/** What a result says that the evidence can't show. */
async function limitsOf(server: TestServer): Promise<string> {
  const device = await admitted(server, tpm, 'device-1', 'device');
  const client = await device.connect(server);
  const { result } = await client.call(evidenceSubmit, { body: await device.attest(client) });
  const { ear } = await server.admin().call(resultShow, { params: { digest: result }, query: {} });
  const { issuer, jwks } = await client.call(trustShow, {});
  return (await verifyEar(ear, { issuer, jwks }, server.now())).platform.limits.join(' ');
}

describe('a root of virtual TPMs', () => {
  it('is believed only where the configuration says so, and every result says it with the reason', async () => {
    const endorsers = fingerprints().map((root) => ({ root, kind: 'hypervisor', reason: 'our own lab' }));
    const believed = await serverWith(endorsers);
    expect(await limitsOf(believed)).toMatch(/The TPM is virtual.*our own lab/);
    await believed.stop();
    const silent = await serverWith([]);
    expect(await limitsOf(silent)).toMatch(/no TPM maker that this verifier names/);
    await silent.stop();
  });

  it('is refused where it is spoken of and not in ek-roots, or spoken of twice', async () => {
    const [root = ''] = fingerprints();
    const refused = { code: 'CONFIG_INVALID', pointer: '/enrolment/endorsers/0/root' };
    const one = { root, kind: 'maker', reason: 'a reason' };
    await expect(serverWith([{ ...one, root: '00'.repeat(32) }])).rejects.toMatchObject(refused);
    const twice = serverWith([one, { ...one, kind: 'hypervisor' }]);
    await expect(twice).rejects.toMatchObject({ ...refused, pointer: '/enrolment/endorsers/1/root' });
    await (await serverWith([one])).stop();
  });
});
