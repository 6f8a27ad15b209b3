import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type { InitOptions } from '../src/index.ts';
import { policies } from './fixture-policies.ts';
import { type Changes, configure, type TestServer, testServer } from './fixture-server.ts';
import { Maker, type TestTpm } from './fixture-tpm.ts';

/** Software TPMs of one maker that last for all tests of a file, booted anew for each; and a server for each test. */
export interface TestSite {
  /** A folder for files of the tests. */
  readonly dir: string;
  readonly maker: Maker;
  readonly server: TestServer;
  tpm(name: string): TestTpm;
}

/** How a site differs from the usual one, which has a policy for each kind of attester. */
export interface SiteOptions {
  /** What the server is made with, beside the maker's roots. */
  readonly init?: (dir: string) => Partial<InitOptions>;
  /** Settings to change before it starts. */
  readonly settings?: Changes;
}

/** Call it where hooks are declared, before those that use the site. */
export function testSite(names: readonly string[], options: SiteOptions = {}): TestSite {
  const { init = policies, settings = {} } = options;
  const dir = mkdtempSync(join(tmpdir(), 'kallio-site-'));
  const maker = new Maker(join(dir, 'maker'));
  const tpms = new Map<string, TestTpm>();
  let server: TestServer | undefined;
  beforeAll(async () => {
    for (const name of names) tpms.set(name, await maker.make(name));
  });
  afterAll(async () => {
    for (const tpm of tpms.values()) await tpm.powerOff();
    rmSync(dir, { recursive: true });
  });
  beforeEach(async () => {
    for (const tpm of tpms.values()) await tpm.reboot();
    server = await testServer({ ekRoots: maker.roots, ...init(dir) }, (dataDir) =>
      configure(dataDir, settings),
    );
  });
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });
  return {
    dir,
    maker,
    get server() {
      return made(server, 'the server');
    },
    tpm: (name) => made(tpms.get(name), `the TPM ${name}`),
  };
}

function made<T>(thing: T | undefined, name: string): T {
  if (thing === undefined) throw new Error(`${name} is not there yet`);
  return thing;
}
