import type { ImageLookup } from '../images/references.ts';
import type { Policies } from '../policies/policies.ts';
import type { ServerConfig } from '../setup/config.ts';
import type { ResultKeys } from '../setup/result-keys.ts';
import type { Store } from '../store/store.ts';
import type { Nonces } from './nonces.ts';
import type { Turns } from './turns.ts';

/** What appraising evidence works with. */
export interface Verifier {
  readonly store: Store;
  readonly config: ServerConfig;
  readonly policies: Policies;
  readonly images: ImageLookup;
  readonly keys: ResultKeys;
  readonly nonces: Nonces;
  readonly turns: Turns;
}
