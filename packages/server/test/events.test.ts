import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import {
  type Client,
  EVENT_STREAM,
  events,
  eventsList,
  evidenceSubmit,
  type ServerEvent,
  webhookCreate,
  webhookRemove,
  webhooksList,
} from '@kallio/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { admitted, type TestAttester } from './fixture-attester.ts';
import type { TestServer } from './fixture-server.ts';
import { testSite } from './fixture-site.ts';
import type { TestTpm } from './fixture-tpm.ts';

const code = (c: string) => expect.objectContaining({ code: c });
const site = testSite(['one'], { settings: { attestation: { staleSeconds: 60, certificateSeconds: 600 } } });
let server: TestServer;
let tpm: TestTpm;
let device: TestAttester;
beforeEach(async () => {
  ({ server } = site);
  tpm = site.tpm('one');
  device = await admitted(server, tpm, 'device-1', 'device');
});

const past = async (after = 0) =>
  (await server.admin().call(eventsList, { query: { after } })).events.map(short);
const short = ({ type, data }: ServerEvent) => ('to' in data ? `${type} ${data.from}>${data.to}` : type);
const attest = async (client: Client) => client.call(evidenceSubmit, { body: await device.attest(client) });

async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('events', () => {
  it('tell of STALE by the last evidence, though the time to look was noted at the first', async () => {
    const client = await device.connect(server);
    await attest(client);
    server.advance(40);
    await attest(client);
    // Past what was noted at the first, and well within what the last is good for.
    server.advance(40);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await past()).not.toContain('attester.state VERIFIED>STALE');
    server.advance(25);
    await until(async () => (await past()).includes('attester.state VERIFIED>STALE'));
    expect((await past()).filter((event) => event.endsWith('>STALE'))).toHaveLength(1);
  });

  it('tell each change of state once, and what does not change not at all', async () => {
    const client = await device.connect(server);
    await attest(client);
    await attest(client);
    expect(await past()).toEqual(['claim.decided', 'attester.state UNKNOWN>VERIFIED']);
    device.inventory = { scope: 'machine', containers: [{ container: 'stray', processes: [] }], changed: [] };
    await attest(client);
    expect(await past(2)).toEqual(['attester.state VERIFIED>DEGRADED', 'instance.state GONE>UNLOGGED']);
    device.inventory = { scope: 'machine', containers: [], changed: [] };
    await attest(client);
    expect(await past(4)).toEqual(['attester.state DEGRADED>VERIFIED', 'instance.state UNLOGGED>GONE']);
  });

  it('tell that an attester went quiet, by the server’s clock, also over a restart', async () => {
    const client = await device.connect(server);
    await attest(client);
    server.advance(50);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect(await past(2)).toEqual([]);
    await server.restart();
    server.advance(12);
    await until(async () => (await past(2)).length > 0);
    expect(await past(2)).toEqual(['attester.state VERIFIED>STALE']);
    await attest(await device.connect(server));
    expect(await past(3)).toEqual(['attester.state STALE>VERIFIED']);
  });

  it('are followed as they come, and read on from where the reader was', async () => {
    const ending = new AbortController();
    const heard: ServerEvent[] = [];
    const following = (async () => {
      for await (const { data } of events(server.admin(), `${EVENT_STREAM}?after=0`, ending.signal)) {
        heard.push(data as ServerEvent);
      }
    })().catch(() => undefined);
    await until(() => heard.length === 1);
    await attest(await device.connect(server));
    await until(() => heard.length === 2);
    ending.abort();
    await following;
    expect(heard.map(short)).toEqual(['claim.decided', 'attester.state UNKNOWN>VERIFIED']);
    const again = new AbortController();
    for await (const { id, event } of events(server.admin(), `${EVENT_STREAM}?after=1`, again.signal)) {
      expect({ id, event }).toEqual({ id: '2', event: 'attester.state' });
      again.abort();
      break;
    }
  });

  it('are for viewers only', async () => {
    const client = await device.connect(server);
    const { signal } = new AbortController();
    await expect(client.stream(EVENT_STREAM, signal)).rejects.toThrow(code('FORBIDDEN'));
    await expect(server.client().stream(EVENT_STREAM, signal)).rejects.toThrow(code('UNAUTHENTICATED'));
    await expect(server.client().call(eventsList, { query: {} })).rejects.toThrow(code('UNAUTHENTICATED'));
    await expect(server.admin().stream(`${EVENT_STREAM}?after=x`, signal)).rejects.toThrow(
      code('REQUEST_INVALID'),
    );
  });
});

describe('a webhook', () => {
  let receiver: Server;
  let answers: number[];
  const told: { headers: IncomingHttpHeaders; body: string }[] = [];
  const key = randomBytes(32);
  const secret = `whsec_${key.toString('base64')}`;
  beforeEach(async () => {
    told.length = 0;
    answers = [];
    receiver = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        told.push({ headers: request.headers, body });
        response.writeHead(answers.shift() ?? 200).end();
      });
    });
    receiver.listen(0, '127.0.0.1');
    await once(receiver, 'listening');
  });
  afterEach(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const url = () => {
    const address = receiver.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hook`;
  };
  const add = (types: ServerEvent['type'][] = ['attester.state']) =>
    server.admin().call(webhookCreate, { body: { url: url(), events: types, secret } });

  it('is told what it asked for, signed so that the receiver can check it', async () => {
    await add();
    await attest(await device.connect(server));
    await until(() => told.length === 1);
    const [{ headers, body } = { headers: {}, body: '' }] = told;
    expect(JSON.parse(body)).toMatchObject({
      type: 'attester.state',
      data: { attester: 'device-1', from: 'UNKNOWN', to: 'VERIFIED' },
    });
    // As Standard Webhooks describes it, and not by the code that signs.
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    const mac = createHmac('sha256', key).update(signed).digest('base64');
    expect(headers['webhook-signature']).toBe(`v1,${mac}`);
    expect(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(30);
    await until(async () => (await server.admin().call(webhooksList, {})).webhooks[0]?.waiting === 0);
  });

  it('that fails is told again later, under the same id, also after a restart; and appraisal does not wait', async () => {
    answers = [500];
    await add();
    const client = await device.connect(server);
    const reply = await attest(client);
    expect(reply.platform.state).toBe('VERIFIED');
    await until(() => told.length === 1);
    await until(async () => (await server.admin().call(webhooksList, {})).webhooks[0]?.trouble !== undefined);
    expect((await server.admin().call(webhooksList, {})).webhooks[0]).toMatchObject({
      waiting: 1,
      dead: 0,
      trouble: 'answered 500',
    });
    await server.restart();
    server.advance(6);
    await until(() => told.length === 2);
    expect(told[1]?.headers['webhook-id']).toBe(told[0]?.headers['webhook-id']);
    await until(async () => (await server.admin().call(webhooksList, {})).webhooks[0]?.waiting === 0);
  });

  it('that fails for ever is given up, and what is given up is shown', async () => {
    answers = Array.from({ length: 64 }, () => 503);
    await add();
    await attest(await device.connect(server));
    const dead = async () => (await server.admin().call(webhooksList, {})).webhooks[0]?.dead ?? 0;
    // It goes quiet meanwhile, which is an event of its own: the first one is what is counted.
    await until(async () => {
      server.advance(72_001);
      return (await dead()) >= 1;
    });
    const [first] = told;
    const attempts = told.filter((one) => one.headers['webhook-id'] === first?.headers['webhook-id']);
    expect(attempts.length).toBe(9);
    expect((await server.admin().call(webhooksList, {})).webhooks[0]).toMatchObject({ ended: false });
  });

  it('that is gone is told nothing more', async () => {
    answers = [410];
    await add(['attester.state', 'claim.decided']);
    await attest(await device.connect(server));
    await until(async () => (await server.admin().call(webhooksList, {})).webhooks[0]?.ended === true);
    server.advance(61);
    await until(async () => (await past()).includes('attester.state VERIFIED>STALE'));
    expect(told.length).toBe(1);
  });

  it('is told nothing once it is removed', async () => {
    const { webhook } = await add();
    expect(await server.admin().call(webhookRemove, { params: { webhook } })).toEqual({ removed: true });
    expect(await server.admin().call(webhookRemove, { params: { webhook } })).toEqual({ removed: false });
    await attest(await device.connect(server));
    expect(await past()).toContain('attester.state UNKNOWN>VERIFIED');
    expect(told.length).toBe(0);
  });

  it.each([
    ['http to another machine', { url: 'http://198.51.100.7/hook' }],
    ['a password in the address', { url: 'https://user:secret@ops.example.org/' }],
    ['no address', { url: 'ops.example.org' }],
    ['a file', { url: 'file:///etc/passwd' }],
    ['a short secret', { secret: `whsec_${Buffer.alloc(23).toString('base64')}` }],
    ['an authority that is none', { ca: 'no certificate' }],
  ])('is refused with %s', async (_, change) => {
    const body = { url: 'https://ops.example.org/hook', events: [], secret, ...change };
    await expect(server.admin().call(webhookCreate, { body })).rejects.toThrow(
      expect.objectContaining({ code: expect.stringMatching(/WEBHOOK_UNUSABLE|REQUEST_INVALID/) }),
    );
    const honest = { url: 'https://ops.example.org/hook', events: [], secret };
    expect((await server.admin().call(webhookCreate, { body: honest })).waiting).toBe(0);
  });
});
