import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@kallio/protocol';
import {
  type InitOptions,
  initServer,
  type RunningServer,
  type ServerConfig,
  type StartOptions,
  startServer,
} from '../src/index.ts';

/** A server on a data folder of its own, on a free port, that goes by a clock which the test moves. */
export interface TestServer {
  readonly dataDir: string;
  readonly url: string;
  readonly ca: string;
  readonly adminToken: string;
  /** A client with these credentials; closed with the server. */
  client(credentials?: { token?: string; identity?: { certificate: string; key: string } }): Client;
  admin(): Client;
  /** Moves the server's clock on. */
  advance(seconds: number): void;
  now(): Date;
  /** Stops and starts it again on the same folder. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Settings to change; those that are not named stay. */
export type Changes = { readonly [K in keyof ServerConfig]?: Partial<ServerConfig[K]> };

/** Changes settings of a server that does not run. */
export function configure(dataDir: string, changes: Changes): void {
  const path = join(dataDir, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  for (const [name, change] of Object.entries(changes)) {
    config[name] =
      typeof change === 'object' && !Array.isArray(change) ? { ...config[name], ...change } : change;
  }
  writeFileSync(path, JSON.stringify(config));
}

/** Starts one. `edit` may change its folder between init and start. */
export async function testServer(
  options: Partial<InitOptions> = {},
  edit: (dataDir: string) => void = () => undefined,
  register?: StartOptions['register'],
): Promise<TestServer> {
  const root = mkdtempSync(join(tmpdir(), 'kallio-server-'));
  const dataDir = join(root, 'data');
  const { adminToken, ca } = await initServer({
    dataDir,
    listen: '127.0.0.1:0',
    names: ['127.0.0.1', 'localhost'],
    trustDomain: 'edge.test',
    issuer: 'verifier.edge.test',
    log: { name: 'log.edge.test' },
    ekRoots: [],
    ...options,
  });
  configure(dataDir, { logLevel: 'silent' });
  edit(dataDir);
  let offset = 0;
  const clock = () => new Date(Date.now() + offset);
  const start = () => startServer({ dataDir, clock, ...(register === undefined ? {} : { register }) });
  let running: RunningServer;
  try {
    running = await start();
  } catch (error) {
    rmSync(root, { recursive: true });
    throw error;
  }
  const clients: Client[] = [];
  const client: TestServer['client'] = (credentials = {}) => {
    const made = new Client({ url: running.url, ca, ...credentials });
    clients.push(made);
    return made;
  };
  return {
    dataDir,
    get url() {
      return running.url;
    },
    ca,
    adminToken,
    client,
    admin: () => client({ token: adminToken }),
    advance: (seconds) => {
      offset += seconds * 1000;
    },
    now: clock,
    restart: async () => {
      await running.close();
      running = await start();
    },
    stop: async () => {
      await running.close();
      await Promise.all(clients.map((c) => c.close().catch(() => undefined)));
      rmSync(root, { recursive: true });
    },
  };
}
