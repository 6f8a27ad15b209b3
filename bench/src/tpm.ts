import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  akTemplate,
  createPrimary,
  evictControl,
  flushContext,
  getRandom,
  HANDLE,
  openTransport,
  quote,
  Tpm,
  type Transport,
} from '@kallio/tpm';
import { median, type Row } from './row.ts';

const AK = 0x8100_0001;
const NONCE = new Uint8Array(32).fill(7);
const SELECT = [{ bank: 'sha256' as const, pcrs: [0, 1, 2, 3, 4, 5, 6, 7] }];
/** Client and raw bytes take turns, quote by quote: whatever slows the machine slows both. */
const QUOTES = 3000;
const WARM_UP = 300;
/** Rounds of one tool process beside ten quotes. */
const TOOL_ROUNDS = 40;

/** A quote (ECDSA P-256, PCRs 0-7) through the client, beside the raw bytes over the same socket and beside tpm2_quote. */
export async function run(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), 'kallio-bench-tpm-'));
  let swtpm: ChildProcess | undefined;
  try {
    swtpm = await startSwtpm(dir);
    const path = join(dir, 's');
    const transport = openTransport(`swtpm:unix:${path}`);
    const tpm = new Tpm(transport);
    const ak = await createPrimary(tpm, HANDLE.owner, akTemplate());
    await evictControl(tpm, ak, AK);
    await flushContext(tpm, ak);
    const beside = await besideRaw(tpm, transport);
    await tpm.close();
    const tool = await besideTool(tpm, path, dir);
    await tpm.close();
    return [beside, tool];
  } finally {
    if (swtpm !== undefined) await stop(swtpm);
    rmSync(dir, { recursive: true, force: true });
  }
}

async function besideRaw(tpm: Tpm, transport: Transport): Promise<Row> {
  const command = await quoteBytes();
  const client: number[] = [];
  const raw: number[] = [];
  const throughClient = async () => {
    await quote(tpm, AK, NONCE, SELECT);
  };
  const asBytes = async () => {
    await transport.send(command);
  };
  for (let i = 0; i < WARM_UP + QUOTES; i++) {
    // Each goes first every other time: what comes second finds caches warm.
    const order = i % 2 === 0 ? [throughClient, asBytes] : [asBytes, throughClient];
    for (const act of order) {
      const ms = await timed(act);
      if (i >= WARM_UP) (act === asBytes ? raw : client).push(ms);
    }
  }
  const [figure, besideFigure] = [median(client), median(raw)];
  const ratio = figure / besideFigure;
  return {
    name: 'quote through the client (P-256, PCRs 0-7)',
    figure,
    unit: 'ms',
    beside: 'the same bytes over the same socket',
    besideFigure,
    ratio,
    bar: 'ratio <= 1.1',
    holds: ratio <= 1.1,
  };
}

async function besideTool(tpm: Tpm, path: string, dir: string): Promise<Row> {
  const client: number[] = [];
  const tool: number[] = [];
  const nonce = Buffer.from(NONCE).toString('hex');
  const files = ['-m', join(dir, 'q.msg'), '-s', join(dir, 'q.sig')];
  const args = ['-T', `swtpm:path=${path}`, '-c', '0x81000001', '-l', 'sha256:0,1,2,3,4,5,6,7', '-q', nonce];
  for (let round = 0; round < TOOL_ROUNDS; round++) {
    // The connection is made before the clock runs: a program that quotes more than once has one.
    await getRandom(tpm, 8);
    for (let i = 0; i < 10; i++) client.push(await timed(() => quote(tpm, AK, NONCE, SELECT)));
    // swtpm takes one client at a time.
    await tpm.close();
    tool.push(
      await timed(async () => {
        const ran = spawnSync('tpm2_quote', [...args, ...files]);
        if (ran.status !== 0) throw new Error(`tpm2_quote failed: ${ran.stderr}`);
      }),
    );
  }
  const [figure, besideFigure] = [median(client), median(tool)];
  const ratio = figure / besideFigure;
  return {
    name: 'quote through the client (P-256, PCRs 0-7)',
    figure,
    unit: 'ms',
    beside: 'the tpm2_quote process',
    besideFigure,
    ratio,
    bar: 'ratio <= 0.1',
    holds: ratio <= 0.1,
  };
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await act();
  return performance.now() - started;
}

/** The bytes that the client sends for that quote, taken from the client itself. */
async function quoteBytes(): Promise<Uint8Array> {
  let sent: Uint8Array | undefined;
  const recorder: Transport = {
    send: async (command) => {
      sent = command;
      // TPM_RC_FAILURE: the recorder is no TPM.
      return Uint8Array.of(0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1);
    },
    close: async () => undefined,
  };
  await quote(new Tpm(recorder), AK, NONCE, SELECT).catch(() => undefined);
  if (sent === undefined) throw new Error('the client sent nothing');
  return sent;
}

async function startSwtpm(dir: string): Promise<ChildProcess> {
  const made = spawnSync('swtpm_setup', ['--tpm2', '--tpmstate', dir, '--pcr-banks', 'sha256']);
  if (made.status !== 0) throw new Error(`swtpm_setup failed: ${made.stdout}${made.stderr}`);
  const path = join(dir, 's');
  const sockets = ['--server', `type=unixio,path=${path}`, '--ctrl', `type=unixio,path=${path}.ctrl`];
  const state = ['--tpmstate', `dir=${dir}`, '--flags', 'not-need-init,startup-clear'];
  const swtpm = spawn('swtpm', ['socket', '--tpm2', ...state, ...sockets], { stdio: 'ignore' });
  const probe = new Tpm(openTransport(`swtpm:unix:${path}`));
  for (let i = 0; ; i++) {
    try {
      await getRandom(probe, 8);
      await probe.close();
      return swtpm;
    } catch (error) {
      // It takes some milliseconds to listen.
      if (i === 100) throw error;
      await wait(20);
    }
  }
}

async function stop(process: ChildProcess): Promise<void> {
  const gone = once(process, 'exit');
  process.kill('SIGTERM');
  await gone;
}
