import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { concat, Reader, Writer } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { getRandom, openTransport, Tpm } from '../src/index.ts';
import { codeOf, refusalOf } from './support/refusal.ts';
import { answer } from './support/scripted.ts';
import { StreamServer } from './support/stream-server.ts';
import { Swtpm } from './support/swtpm.ts';

const GET_RANDOM = new Writer().u16(0x8001).u32(12).u32(0x17b).u16(8).finish();
const OK = answer(0, Uint8Array.of(0, 1, 42));

describe('an address of a TPM', () => {
  it('is one of four kinds', async () => {
    const good = ['device:/dev/tpmrm0', 'swtpm:unix:/run/tpm', 'swtpm:localhost:2321', 'mssim:[::1]:2321'];
    for (const address of good) expect(await codeOf(() => openTransport(address))).toBeUndefined();
    const bad = [
      '',
      '/dev/tpm0',
      'device:tpm0',
      'swtpm:host',
      'swtpm:host:0',
      'swtpm:host:65536',
      'tcp:host:1',
    ];
    for (const address of bad) expect(await codeOf(() => openTransport(address))).toBe('TPM_ADDRESS');
  });
});

describe('swtpm', () => {
  for (const listen of ['unix', 'tcp'] as const) {
    it(`answers over ${listen}, also on a second connection`, async () => {
      const swtpm = await Swtpm.start(listen);
      try {
        const tpm = swtpm.open();
        expect(await getRandom(tpm, 16)).toHaveLength(16);
        await tpm.close();
        expect(await getRandom(tpm, 16)).toHaveLength(16);
        await tpm.close();
      } finally {
        await swtpm.remove();
      }
    });
  }
});

describe('the Microsoft simulator’s framing', () => {
  let swtpm: Swtpm;
  let server: StreamServer;
  const received: string[] = [];

  beforeAll(async () => {
    swtpm = await Swtpm.start();
    // The simulator's side of the protocol, before a real TPM.
    server = await StreamServer.start((socket) => {
      const transport = swtpm.transport();
      let bytes: Uint8Array = new Uint8Array(0);
      socket.on('data', async (chunk) => {
        bytes = concat(bytes, chunk);
        const reader = new Reader(bytes);
        const signal = reader.u32();
        received.push(`signal ${signal}`);
        if (signal === 20) return socket.end();
        received.push(`locality ${reader.u8()}`);
        const command = reader.bytes(reader.u32());
        reader.end();
        bytes = new Uint8Array(0);
        const response = await transport.send(command);
        await transport.close();
        // In two pieces: a response may come in any.
        socket.write(new Writer().u32(response.length).bytes(response.subarray(0, 3)).finish());
        setTimeout(() => socket.write(new Writer().bytes(response.subarray(3)).u32(0).finish()), 10);
        return undefined;
      });
    });
  });
  afterAll(async () => {
    await server.stop();
    await swtpm.remove();
  });

  it('carries commands and says goodbye', async () => {
    const tpm = Tpm.open(`mssim:127.0.0.1:${server.port}`);
    expect(await getRandom(tpm, 16)).toHaveLength(16);
    expect(await getRandom(tpm, 4)).toHaveLength(4);
    await tpm.close();
    await vi.waitFor(() => expect(received.at(-1)).toBe('signal 20'));
    expect(received.slice(0, 4)).toEqual(['signal 8', 'locality 0', 'signal 8', 'locality 0']);
  });
});

describe('a connection', () => {
  const to = (server: StreamServer, timeoutMs?: number) =>
    openTransport(`swtpm:127.0.0.1:${server.port}`, timeoutMs);

  it('that is not there is TPM_UNREACHABLE with a hint', async () => {
    const server = await StreamServer.start(() => undefined);
    await server.stop();
    const refusal = await refusalOf(to(server).send(GET_RANDOM));
    expect(refusal?.code).toBe('TPM_UNREACHABLE');
    expect(refusal?.hint).toMatch(/swtpm/);
  });

  it('that is lost during a command is TPM_DISCONNECTED; the command is not sent again, the next one is', async () => {
    let commands = 0;
    const server = await StreamServer.start((socket, connection) => {
      socket.on('data', () => {
        commands++;
        if (connection === 1) socket.destroy();
        else socket.write(OK);
      });
    });
    const transport = to(server);
    expect(await codeOf(transport.send(GET_RANDOM))).toBe('TPM_DISCONNECTED');
    expect(commands).toBe(1);
    expect(await transport.send(GET_RANDOM)).toEqual(OK);
    expect(commands).toBe(2);
    await transport.close();
    await server.stop();
  });

  it('on which nothing comes is TPM_STALLED, and the late answer is not the next command’s', async () => {
    const late = answer(0, Uint8Array.of(0, 1, 99));
    const server = await StreamServer.start((socket, connection) => {
      socket.on('data', () =>
        setTimeout(() => socket.write(connection === 1 ? late : OK), connection === 1 ? 400 : 0),
      );
    });
    const transport = to(server, 200);
    expect(await codeOf(transport.send(GET_RANDOM))).toBe('TPM_STALLED');
    expect(await transport.send(GET_RANDOM)).toEqual(OK);
    await transport.close();
    await server.stop();
  });

  it('is waited on through the 10 s that a self-test may take, and given up after 60 s', async () => {
    const server = await StreamServer.start(() => undefined);
    const transport = to(server);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      let outcome = 'waiting';
      const arrived = once(process, 'kallio-test-never', { signal: AbortSignal.timeout(100) }).catch(
        () => undefined,
      );
      const sent = codeOf(transport.send(GET_RANDOM)).then((code) => {
        outcome = code ?? 'answered';
      });
      await arrived;
      await vi.advanceTimersByTimeAsync(10_500);
      expect(outcome).toBe('waiting');
      await vi.advanceTimersByTimeAsync(50_000);
      await sent;
      expect(outcome).toBe('TPM_STALLED');
    } finally {
      vi.useRealTimers();
      await transport.close();
      await server.stop();
    }
  });

  it('whose response claims to be longer than any is refused', async () => {
    const server = await StreamServer.start((socket) => {
      socket.on('data', () =>
        socket.write(
          new Writer()
            .u16(0x8001)
            .u32(1 << 30)
            .u32(0)
            .finish(),
        ),
      );
    });
    const transport = to(server);
    expect(await codeOf(transport.send(GET_RANDOM))).toBe('TPM_RESPONSE_MALFORMED');
    await transport.close();
    await server.stop();
  });
});

describe('a character device', () => {
  it('that is not there is TPM_UNREACHABLE with a hint', async () => {
    const refusal = await refusalOf(openTransport('device:/dev/no-such-tpm').send(GET_RANDOM));
    expect(refusal?.code).toBe('TPM_UNREACHABLE');
    expect(refusal?.message).toMatch(/there is no such device/);
    expect(refusal?.hint).toMatch(/firmware/);
  });

  it('takes a command in one write and gives its response to one read', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'kallio-device-'));
    try {
      // A pipe that is opened for both gives back what it takes: a command that looks like its own response.
      execFileSync('mkfifo', [join(dir, 'tpm')]);
      const transport = openTransport(`device:${join(dir, 'tpm')}`);
      expect(await transport.send(GET_RANDOM)).toEqual(GET_RANDOM);
      expect(await transport.send(OK)).toEqual(OK);
      await transport.close();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it('that is stuck in a command is TPM_STALLED, takes no further one, and comes back when it lets go', async () => {
    // A terminal that nobody types on: it takes what is written, and gives what the test types.
    const terminal = spawn('script', ['-qfc', 'tty; stty raw -echo; exec sleep 600', '/dev/null']);
    try {
      const [name] = await once(terminal.stdout, 'data');
      await wait(300);
      const written: Buffer[] = [];
      terminal.stdout.on('data', (chunk: Buffer) => written.push(chunk));
      const transport = openTransport(`device:${String(name).trim()}`, 300);
      expect(await codeOf(transport.send(GET_RANDOM))).toBe('TPM_STALLED');
      expect(await codeOf(transport.send(GET_RANDOM))).toBe('TPM_STALLED');
      expect(Buffer.concat(written)).toEqual(Buffer.from(GET_RANDOM));
      // The answer to the command that was given up comes late: it is not the next command's.
      terminal.stdin.write(answer(0, Uint8Array.of(0, 1, 99)));
      await wait(100);
      const next = transport.send(GET_RANDOM);
      await wait(100);
      terminal.stdin.write(OK);
      expect(await next).toEqual(OK);
      await transport.close();
    } finally {
      const gone = once(terminal, 'exit');
      terminal.kill();
      await gone;
    }
  });

  it('that breaks under a command is TPM_DISCONNECTED', async () => {
    expect(await codeOf(openTransport('device:/dev/full').send(GET_RANDOM))).toBe('TPM_DISCONNECTED');
    expect(await codeOf(openTransport('device:/dev/null').send(GET_RANDOM))).toBe('TPM_DISCONNECTED');
  });
});
