import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examineTpm, type TpmExamination } from '../src/doctor/tpm.ts';

let dir: string;
const running: ChildProcess[] = [];
/** A doctor before a device that is stuck: he waits longer than all other tests take, and so while they run. */
let stuck: ReturnType<typeof doctor>;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-doctor-'));
  // A terminal that nobody types on: it takes what is written and gives nothing to read.
  const terminal = spawn('script', ['-qfc', 'tty; stty raw -echo; exec sleep 600', '/dev/null']);
  running.push(terminal);
  const [name] = await once(terminal.stdout, 'data');
  stuck = doctor('--tpm', `device:${String(name).trim()}`);
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

const named = ({ findings }: TpmExamination, what: string) => findings.find((one) => one.what === what);

describe('the doctor', () => {
  it('says of a TPM with an EK certificate that it can attest, and that nothing measures to it', async () => {
    const found = await examineTpm(await tpm('whole', true));
    expect(found).toMatchObject({ state: 'fit', measured: false });
    expect(named(found, 'EK certificate')).toEqual({
      what: 'EK certificate',
      ok: true,
      detail: 'ecc-p384, rsa2048',
    });
    expect(named(found, 'firmware measurement')).toMatchObject({ ok: false, optional: true });
  });

  it('says of a TPM without an EK certificate what it lacks', async () => {
    const found = await examineTpm(await tpm('bare', false));
    expect(found.state).toBe('unfit');
    expect(named(found, 'EK certificate')).toMatchObject({
      ok: false,
      hint: expect.stringContaining('endorsement.certificate'),
    });
    expect(named(found, 'TPM')).toMatchObject({ ok: true });
  });

  it('gives a TPM up that takes commands and never answers, and says so meanwhile', async () => {
    const socket = join(dir, 'stuck');
    const server = createServer(() => undefined);
    server.listen(socket);
    await once(server, 'listening');
    const said: string[] = [];
    const found = await examineTpm(`swtpm:unix:${socket}`, {
      timeoutMs: 1500,
      slow: (text) => said.push(text),
    });
    server.close();
    expect(found.state).toBe('silent');
    expect(named(found, 'TPM')).toMatchObject({ ok: false, detail: expect.stringContaining('TPM_STALLED') });
    expect(said).toEqual([expect.stringMatching(/not answered yet.*1\.5 s/)]);
  });

  it('says where there is no TPM what to do', async () => {
    const found = await examineTpm(`swtpm:unix:${join(dir, 'nowhere')}`);
    expect(found.state).toBe('silent');
    expect(named(found, 'TPM')).toMatchObject({ ok: false, hint: expect.any(String) });
    const dev = join(dir, 'dev');
    mkdirSync(dev);
    expect(await examineTpm(undefined, { dev })).toMatchObject({
      state: 'absent',
      findings: [{ what: 'TPM', ok: false, hint: expect.stringContaining('--tpm') }],
    });
    // A TPM 1.2 has a device of this name only.
    writeFileSync(join(dev, 'tpm0'), '');
    expect((await examineTpm(undefined, { dev })).findings[0]?.hint).toMatch(/tpm_version_major/);
  });
});

/** The command itself, as a process. */
async function doctor(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, 'doctor', ...args]);
  const [out, err] = [text(child.stdout), text(child.stderr)];
  const [code] = await once(child, 'exit');
  return { code, out: await out, err: await err };
}

describe('kallio doctor', () => {
  it('ends with 0 on a machine that can attest, and says what not all of it is measured', async () => {
    const { code, out } = await doctor('--tpm', await tpm('fit', true));
    expect(out).toMatch(/✔ EK certificate .*\n✔ SHA-256 PCR bank .*\n– firmware measurement/);
    expect(out).toMatch(/can attest at tier C/);
    expect(out).not.toContain('✘');
    expect(code).toBe(0);
  });

  it('ends with 1 where no TPM answers, and with 2 where the address is none', async () => {
    const gone = await doctor('--tpm', 'device:/dev/no-such-tpm');
    expect(gone).toMatchObject({ code: 1, out: expect.stringMatching(/✘ TPM .*there is no such device/) });
    expect(await doctor('--tpm', 'nonsense')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^TPM_ADDRESS: /),
    });
  });

  it('ends by itself, with 1, when the device is stuck in a command', { timeout: 60_000 }, async () => {
    const { code, out, err } = await stuck;
    expect(out).toMatch(/✘ TPM .*TPM_STALLED/);
    expect(out).toMatch(/its TPM does not answer/);
    expect(err).toMatch(/has not answered yet/);
    expect(code).toBe(1);
  });
});
