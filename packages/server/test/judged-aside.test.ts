import { createPublicKey, type KeyObject } from 'node:crypto';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { Streams } from '@kallio/protocol/serve';
import { CommitThread } from '@kallio/store';
import { LogWriter, logOrigin } from '@kallio/tlog';
import { expect, it } from 'vitest';
import { Arithmetic } from '../src/attestation/arithmetic.ts';
import { submitEvidence } from '../src/attestation/evidence.ts';
import { Nonces } from '../src/attestation/nonces.ts';
import { Presence } from '../src/attestation/presence.ts';
import { Turns } from '../src/attestation/turns.ts';
import { ImageLookup } from '../src/images/references.ts';
import { Policies } from '../src/policies/policies.ts';
import { Recent } from '../src/recent.ts';
import { layoutOf } from '../src/setup/layout.ts';
import { loadDataDir } from '../src/setup/load.ts';
import { openStore, type Store } from '../src/store/store.ts';
import { admitted } from './fixture-attester.ts';
import { testSite } from './fixture-site.ts';

const site = testSite(['one']);
const code = (c: string) => expect.objectContaining({ code: c });

/** Does something of its own while a result is signed on the other thread. */
class Meanwhile extends Arithmetic {
  readonly #work: () => void;

  constructor(work: () => void) {
    super();
    this.#work = work;
  }

  override async sign(key: KeyObject, message: Uint8Array): Promise<Uint8Array> {
    this.#work();
    return super.sign(key, message);
  }
}

/** Evidence that a device shows, judged by a copy of its server; `meanwhile` happens before anything of it is recorded. */
async function judged(name: string, meanwhile: (store: Store, claim: number) => void) {
  const { server } = site;
  const device = await admitted(server, site.tpm('one'), 'device-1', 'device');
  const evidence = await device.attest(await device.connect(server));
  const dataDir = join(site.dir, name);
  cpSync(server.dataDir, dataDir, { recursive: true });
  const layout = layoutOf(dataDir);
  const loaded = loadDataDir(layout);
  const { config, resultKeys: keys } = loaded;
  const store = openStore(layout.store);
  const spki = new Uint8Array(createPublicKey(loaded.logKeys.p256).export({ format: 'der', type: 'spki' }));
  const now = () => server.now();
  const origin = logOrigin(config.log.name, spki);
  const log = await LogWriter.open(layout.log, { origin, keys: loaded.logKeys, now });
  const claim = store.claims.admittedAs('device-1')?.claim ?? 0;
  const commits = new CommitThread(layout.store);
  const arithmetic = new Meanwhile(() => meanwhile(store, claim));
  const before = store.results.lastOf(claim)?.digest;
  const submit = () =>
    submitEvidence(
      {
        store,
        config,
        keys,
        arithmetic,
        commits,
        policies: new Policies(layout, log, loaded),
        images: new ImageLookup(store),
        nonces: new Nonces(store, config.attestation.nonceSeconds),
        turns: new Turns(),
        presence: new Presence(new Streams()),
        aks: new Recent(8),
      },
      'device-1',
      evidence,
      now(),
    );
  const close = async () => {
    await arithmetic.close();
    await commits.close();
    await log.close();
    store.close();
  };
  return { submit, close, before, last: () => store.results.lastOf(claim)?.digest };
}

it('is recorded where nothing has changed meanwhile, and its nonce is spent with it', async () => {
  const { submit, close, before, last } = await judged('quiet', () => undefined);
  const { platform, result } = await submit();
  expect(platform.state).toBe('VERIFIED');
  expect(last()).toBe(result);
  expect(last()).not.toBe(before);
  await expect(submit()).rejects.toThrow(code('NONCE_SPENT'));
  await close();
});

it('leaves no trace of an attester that was refused while it was judged', async () => {
  // Attack: a machine that the operator throws out has evidence under way, and a fresh result a moment later.
  const refuse = (store: Store, claim: number) =>
    store.claims.decide(claim, 'refused', undefined, 'token:op', site.server.now().getTime());
  const { submit, close, before, last } = await judged('refused', refuse);
  await expect(submit()).rejects.toThrow(code('ATTESTER_NOT_ADMITTED'));
  expect(last()).toBe(before);
  await close();
});

it('is recorded by the one that comes first, where the same was judged elsewhere meanwhile', async () => {
  // Attack: the same evidence twice, each judged before either is recorded.
  let again: Promise<unknown> | undefined;
  const twice = await judged('twice', () => {
    again ??= Promise.allSettled([twice.submit()]);
  });
  const { result } = await twice.submit();
  expect(await again).toMatchObject([{ status: 'rejected', reason: { code: 'NONCE_SPENT' } }]);
  expect(twice.last()).toBe(result);
  await twice.close();
});
