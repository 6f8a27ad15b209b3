import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examineTpm } from '../src/doctor/tpm.ts';

let dir: string;
const running: ChildProcess[] = [];
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-doctor-'));
});
afterAll(async () => {
  for (const child of running) {
    const gone = once(child, 'exit');
    child.kill();
    await gone;
  }
  rmSync(dir, { recursive: true, force: true });
});

/** A software TPM, with EK certificates or without. */
async function tpm(name: string, certificates: boolean): Promise<string> {
  const state = join(dir, name);
  mkdirSync(state);
  const maker = ['signkey', 'issuercert', 'certserial'].map((key) => `${key} = ${join(state, key)}`);
  writeFileSync(
    join(state, 'ca.conf'),
    [`statedir = ${state}`, ...maker, ''].join('\n').replace('signkey', 'signingkey'),
  );
  writeFileSync(
    join(state, 'ca.options'),
    '--platform-manufacturer T --platform-version 1 --platform-model T\n',
  );
  writeFileSync(
    join(state, 'setup.conf'),
    [
      'create_certs_tool = /usr/bin/swtpm_localca',
      `create_certs_tool_config = ${join(state, 'ca.conf')}`,
      `create_certs_tool_options = ${join(state, 'ca.options')}`,
      '',
    ].join('\n'),
  );
  const made = spawnSync('swtpm_setup', [
    ...['--tpm2', '--tpmstate', state, '--pcr-banks', 'sha256'],
    ...(certificates ? ['--create-ek-cert', '--config', join(state, 'setup.conf')] : []),
  ]);
  expect(made.status, String(made.stdout)).toBe(0);
  const socket = join(state, 's');
  running.push(
    spawn('swtpm', [
      ...['socket', '--tpm2', '--tpmstate', `dir=${state}`],
      ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
      ...['--flags', 'not-need-init,startup-clear'],
    ]),
  );
  for (let i = 0; !existsSync(socket) && i < 100; i++) await wait(20);
  return `swtpm:unix:${socket}`;
}

const named = (findings: Awaited<ReturnType<typeof examineTpm>>['findings'], what: string) =>
  findings.find((finding) => finding.what === what);

describe('the doctor', () => {
  it('says of a TPM with an EK certificate that it can attest, and that nothing measures to it', async () => {
    const { usable, findings } = await examineTpm(await tpm('whole', true));
    expect(usable).toBe(true);
    expect(named(findings, 'EK certificate')).toMatchObject({
      ok: true,
      detail: expect.stringContaining('ecc-p384'),
    });
    expect(named(findings, 'firmware measurement')).toMatchObject({ ok: false });
  });

  it('says of a TPM without an EK certificate what it lacks', async () => {
    const { usable, findings } = await examineTpm(await tpm('bare', false));
    expect(usable).toBe(false);
    expect(named(findings, 'EK certificate')).toMatchObject({
      ok: false,
      hint: expect.stringContaining('endorsement.certificate'),
    });
    expect(named(findings, 'TPM')).toMatchObject({ ok: true });
  });

  it('gives a TPM up that takes commands and never answers, and says so', async () => {
    const socket = join(dir, 'stuck');
    const server = createServer(() => undefined);
    server.listen(socket);
    await once(server, 'listening');
    const { usable, findings } = await examineTpm(`swtpm:unix:${socket}`, 500);
    server.close();
    expect(usable).toBe(false);
    expect(named(findings, 'TPM')).toMatchObject({
      ok: false,
      detail: expect.stringContaining('TPM_STALLED'),
    });
  });

  it('says where there is no TPM what to do', async () => {
    const { usable, findings } = await examineTpm(`swtpm:unix:${join(dir, 'nowhere')}`);
    expect(usable).toBe(false);
    expect(named(findings, 'TPM')).toMatchObject({ ok: false, hint: expect.any(String) });
  });
});
