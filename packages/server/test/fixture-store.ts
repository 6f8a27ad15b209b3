import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@kallio/codec';
import { afterEach, beforeEach } from 'vitest';
import type { ProvenClaim } from '../src/store/claims.ts';
import { openStore, type Store } from '../src/store/store.ts';

/** A moment that tests go from. */
export const T = Date.UTC(2030, 0, 1);

/** A store in a folder of its own for each test of the file. */
export function freshStore(): { readonly store: Store; readonly path: string; reopen(): void } {
  const state: { dir: string; store: Store | undefined } = { dir: '', store: undefined };
  const path = () => join(state.dir, 'store.sqlite');
  const current = () => {
    if (state.store === undefined) throw new Error('used outside a test');
    return state.store;
  };
  beforeEach(() => {
    state.dir = mkdtempSync(join(tmpdir(), 'kallio-store-'));
    state.store = openStore(path());
  });
  afterEach(() => {
    current().close();
    rmSync(state.dir, { recursive: true });
  });
  return {
    get store() {
      return current();
    },
    get path() {
      return path();
    },
    reopen() {
      current().close();
      state.store = openStore(path());
    },
  };
}

/** A claim that stands for a proven one: the store does not look into its bytes. */
export function claimOf(attester: string, tpm: string, ak = `ak-${tpm}`): ProvenClaim {
  return {
    attester,
    kind: 'builder',
    ek: tpm,
    ekPublic: utf8(tpm),
    ekCertificate: utf8(tpm),
    ekRoot: '00'.repeat(32),
    ak,
    akPublic: utf8(ak),
  };
}
