import type { Refusal } from '@kallio/codec';
import type { ShownIma } from '@kallio/evidence';
import type { AppraisalCode } from '../codes.ts';
import type { KeptIma } from '../continuity.ts';
import type { CompiledPolicy } from '../policy/compile.ts';
import type { UpdateWindows } from '../updates.ts';

/** What an IMA log is judged by. */
export interface ImaFacts {
  readonly shown: ShownIma | undefined;
  readonly previous: KeptIma | undefined;
  readonly quoted: ReadonlyMap<number, Uint8Array>;
  readonly policy: CompiledPolicy;
  readonly windows: UpdateWindows;
  /** True for the SHA-256 of a file of an image whose instances run, or ran in this boot. */
  readonly inImage: (digest: string) => boolean;
}

/** What the IMA log came to. */
export interface ImaVerdict {
  readonly kept?: KeptIma;
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** True when the log leads to the quoted PCR 10, so that what it lists is all that was measured. */
  readonly explained: boolean;
}
