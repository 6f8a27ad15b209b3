/** Something that reads what others wrote. */
export interface Target {
  /** What is honest: hostile input is made of it. */
  readonly seeds: readonly Uint8Array[];
  /**
   * Takes an input, or refuses it with a `KallioError`. Any other error is a finding, among them its own: that something was
   * taken for what it is not.
   */
  take(input: Uint8Array): unknown;
}

/** Makes it; files go into `folder`. */
export type MakeTarget = (folder: string) => Target | Promise<Target>;

/** The finding that something hostile was taken. Not a refusal. */
export class Taken extends Error {}
