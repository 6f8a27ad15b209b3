import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { makeCredential, nameOf, parsePublic } from '@kallio/tpm/structures';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identityOf } from '../src/identity/configured.ts';

const PCR_EXTEND = 0x182;

let dir: string;
let swtpm: ChildProcess;
let bus: Interposer;

/** Somebody on the wires between processor and TPM: hears everything, and may answer in the TPM's place. */
class Interposer {
  heard = Buffer.alloc(0);
  /** An answer of its own to a command with this code; the TPM never sees the command. */
  answers: ((code: number, command: Buffer) => Buffer | undefined) | undefined;
  readonly #server: Server;

  constructor(path: string, tpm: string) {
    this.#server = createServer((processor) => {
      const chip = connect(tpm);
      processor.on('data', (command) => {
        this.heard = Buffer.concat([this.heard, command]);
        const own = this.answers?.(command.readUInt32BE(6), command);
        if (own === undefined) chip.write(command);
        else processor.write(own);
      });
      chip.on('data', (response) => {
        this.heard = Buffer.concat([this.heard, response]);
        processor.write(response);
      });
      processor.on('close', () => chip.destroy());
      chip.on('close', () => processor.destroy());
      processor.on('error', () => chip.destroy());
      chip.on('error', () => processor.destroy());
    });
    this.#server.listen(path);
  }

  close(): void {
    this.#server.close();
  }
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-bus-'));
  const state = join(dir, 'tpm');
  mkdirSync(state);
  writeFileSync(
    join(dir, 'ca.conf'),
    `statedir = ${dir}\nsigningkey = ${dir}/k\nissuercert = ${dir}/i\ncertserial = ${dir}/n\n`,
  );
  writeFileSync(
    join(dir, 'ca.options'),
    '--platform-manufacturer T --platform-version 1 --platform-model T\n',
  );
  writeFileSync(
    join(dir, 'setup.conf'),
    `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${dir}/ca.conf\ncreate_certs_tool_options = ${dir}/ca.options\n`,
  );
  spawnSync('swtpm_setup', [
    ...['--tpm2', '--tpmstate', state, '--pcr-banks', 'sha256'],
    ...['--create-ek-cert', '--config', join(dir, 'setup.conf')],
  ]);
  const socket = join(dir, 's');
  swtpm = spawn('swtpm', [
    ...['socket', '--tpm2', '--tpmstate', `dir=${state}`],
    ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
    ...['--flags', 'not-need-init,startup-clear'],
  ]);
  for (let i = 0; !existsSync(socket) && i < 100; i++) await wait(20);
  bus = new Interposer(join(dir, 'bus'), socket);
});
afterAll(async () => {
  bus.close();
  const gone = once(swtpm, 'exit');
  swtpm.kill();
  await gone;
  rmSync(dir, { recursive: true, force: true });
});

const open = () => identityOf({ tpm: `swtpm:unix:${join(dir, 'bus')}`, stateDir: join(dir, 'state') });

describe('somebody on the bus', () => {
  it('does not hear the secret of an enrolment', async () => {
    const identity = await open();
    try {
      const secret = new Uint8Array(Buffer.from('what only this TPM is to tell us'));
      const name = nameOf(parsePublic(identity.akPublic));
      const { credentialBlob, encryptedSecret } = makeCredential(
        parsePublic(identity.ekPublic),
        name,
        secret,
      );
      bus.heard = Buffer.alloc(0);
      expect(await identity.activateCredential(credentialBlob, encryptedSecret)).toEqual(secret);
      // It did hear the exchange: what went in is there, what came out is not.
      expect(bus.heard.includes(Buffer.from(credentialBlob))).toBe(true);
      expect(bus.heard.includes(Buffer.from(secret))).toBe(false);
    } finally {
      await identity.close();
    }
  });

  it('can’t swallow an extend of the instance log’s PCR and say that it was done', async () => {
    const identity = await open();
    const digest = new Uint8Array(32).fill(5);
    const before = await identity.pcrRead(14);
    await identity.pcrExtend(14, digest);
    const after = await identity.pcrRead(14);
    expect(after).not.toEqual(before);
    let swallowed = 0;
    bus.answers = (code) => {
      if (code !== PCR_EXTEND) return undefined;
      swallowed += 1;
      // Success, no parameters, and an authorization area with a nonce and an HMAC as long as they must be.
      const area = Buffer.concat([
        Buffer.from([0, 32]),
        Buffer.alloc(32, 9),
        Buffer.from([1, 0, 32]),
        Buffer.alloc(32, 9),
      ]);
      const header = Buffer.alloc(14);
      header.writeUInt16BE(0x8002, 0);
      header.writeUInt32BE(14 + area.length, 2);
      return Buffer.concat([header, area]);
    };
    try {
      await expect(identity.pcrExtend(14, digest)).rejects.toMatchObject({ code: 'TPM_RESPONSE_HMAC' });
      expect(swallowed).toBe(1);
      // Whoever answered is not believed in anything else either.
      await expect(identity.pcrRead(14)).rejects.toMatchObject({ code: 'TPM_RESPONSE_HMAC' });
    } finally {
      bus.answers = undefined;
      await identity.close();
    }
    const again = await open();
    expect(await again.pcrRead(14)).toEqual(after);
    await again.close();
  });

  it('can’t change what a quote is asked for', async () => {
    const identity = await open();
    const nonce = new Uint8Array(Buffer.from('the verifier’s question'));
    expect((await identity.quote([14], nonce)).signature.length).toBeGreaterThan(0);
    bus.answers = (_code, command) => {
      const at = command.indexOf(nonce);
      if (at >= 0) command.writeUInt8(command.readUInt8(at) ^ 1, at);
      return undefined;
    };
    try {
      // The TPM itself refuses: the command's HMAC is over other parameters.
      await expect(identity.quote([14], nonce)).rejects.toMatchObject({ code: 'TPM_RESPONSE' });
    } finally {
      bus.answers = undefined;
      await identity.close();
    }
  });
});
