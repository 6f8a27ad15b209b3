import type { EccPublic } from '@kallio/tpm/structures';
import type { ImageLookup } from '../images/references.ts';
import type { Policies } from '../policies/policies.ts';
import type { Recent } from '../recent.ts';
import type { ServerConfig } from '../setup/config.ts';
import type { ResultKeys } from '../setup/result-keys.ts';
import type { Store } from '../store/store.ts';
import type { Arithmetic } from './arithmetic.ts';
import type { Nonces } from './nonces.ts';
import type { Presence } from './presence.ts';
import type { SteadyCommits } from './steady-commits.ts';
import type { Turns } from './turns.ts';

/** What appraising evidence works with. */
export interface Verifier {
  readonly store: Store;
  readonly config: ServerConfig;
  readonly policies: Policies;
  /** Under whose approvals a signing key must be, where there is one. */
  readonly signingAuthority?: EccPublic;
  readonly images: ImageLookup;
  readonly keys: ResultKeys;
  readonly nonces: Nonces;
  readonly turns: Turns;
  readonly presence: Presence;
  readonly arithmetic: Arithmetic;
  readonly commits: SteadyCommits;
  /** Public areas of AKs by the AK's Name: an appraisal imports the key once for each array that it is handed. */
  readonly aks: Recent<string, Uint8Array>;
}
