/** Most that is kept of a body before its connection is paused: bytes, and pieces, which may be of one byte each. */
const MAX_HELD = 256 * 1024;
const MAX_PIECES = 1024;
/** More pieces than these are given as one. */
const MANY_PIECES = 16;

/** What a body does with the connection that brings it. */
export interface Tap {
  pause(): void;
  resume(): void;
  /** Nobody wants the rest. */
  cancel(): void;
}

/** A body as it comes: kept until it is read, by one reader. */
export class Body implements AsyncIterable<Uint8Array> {
  readonly #tap: Tap;
  readonly #pieces: Buffer[] = [];
  #held = 0;
  #paused = false;
  #unwanted = false;
  #over: 'whole' | Error | undefined;
  #wake: (() => void) | undefined;

  constructor(tap: Tap) {
    this.#tap = tap;
  }

  hand(piece: Buffer): void {
    if (this.#unwanted) return;
    this.#pieces.push(piece);
    this.#held += piece.length;
    if (!this.#paused && (this.#held > MAX_HELD || this.#pieces.length > MAX_PIECES)) {
      this.#paused = true;
      this.#tap.pause();
    }
    this.#wake?.();
  }

  /** All has come, or what went wrong. */
  end(how: 'whole' | Error): void {
    this.#over ??= how;
    // From here on the connection is another's.
    this.#paused = false;
    this.#wake?.();
  }

  /** Nobody will read it: it is waited for where that is worth the connection. */
  drop(worthWaiting: boolean): void {
    this.#unwanted = true;
    this.#pieces.length = 0;
    if (this.#over !== undefined) return;
    if (worthWaiting) this.#flow();
    else this.#tap.cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const piece = this.#piece();
        if (piece !== undefined) yield piece;
        else if (this.#over === 'whole') return;
        else if (this.#over !== undefined) throw this.#over;
        else await this.#more();
      }
    } finally {
      // Who stops reading wants nothing more of it.
      this.drop(false);
    }
  }

  /** What is given next. Attack: a body of many small pieces, each of which its reader handles by itself. */
  #piece(): Buffer | undefined {
    if (this.#pieces.length > MANY_PIECES) {
      this.#held = 0;
      return Buffer.concat(this.#pieces.splice(0));
    }
    const piece = this.#pieces.shift();
    this.#held -= piece?.length ?? 0;
    return piece;
  }

  #flow(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#tap.resume();
  }

  #more(): Promise<void> {
    this.#flow();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
