import { type HoldsEcdsa, holdsEcdsa } from '@kallio/codec';

/**
 * Signatures that are taken to hold until the end, and verified there, one right after another: the arithmetic reads 150 KB
 * of tables, which whatever is read between two signatures drives out of the processor's cache (a quarter of its time).
 */
export class PutOff {
  readonly #signatures: Parameters<HoldsEcdsa>[] = [];

  /** Takes a signature to hold, for now. The bytes must stay as they are. */
  readonly holds: HoldsEcdsa = (...signature) => {
    this.#signatures.push(signature);
    return true;
  };

  /** Whether all do that were taken to. */
  allHold(): boolean {
    return this.#signatures.every((signature) => holdsEcdsa(...signature));
  }
}
