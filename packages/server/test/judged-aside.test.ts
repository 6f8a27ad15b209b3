import type { KeyObject } from 'node:crypto';
import { expect, it } from 'vitest';
import { Arithmetic } from '../src/attestation/arithmetic.ts';
import { submitEvidence } from '../src/attestation/evidence.ts';
import type { Store } from '../src/store/store.ts';
import { admitted } from './fixture-attester.ts';
import { testSite } from './fixture-site.ts';
import { copiedVerifier } from './fixture-verifier.ts';

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
  const claimOf = (store: Store) => store.claims.admittedAs('device-1')?.claim ?? 0;
  const { verifier, close } = await copiedVerifier(site, name, {
    arithmetic: (store) => new Meanwhile(() => meanwhile(store, claimOf(store))),
  });
  const { store } = verifier;
  const claim = claimOf(store);
  const before = store.results.lastOf(claim)?.digest;
  const submit = () => submitEvidence(verifier, 'device-1', evidence, server.now());
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
