import { KallioError } from './error.ts';

/** Writes a byte string front to back, growing as needed. Values out of a field's range are `CODEC_RANGE`. */
export class Writer {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  /** Makes room for a field and says where it goes. May replace the buffer, so take the buffer only afterwards. */
  #room(count: number): number {
    const at = this.#at;
    const need = at + count;
    if (need > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#at = need;
    return at;
  }

  static #check(value: number, limit: number): void {
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new KallioError('CODEC_RANGE', `${value} does not fit a field of 0 to ${limit}.`);
    }
  }

  u8(value: number): this {
    Writer.#check(value, 0xff);
    const at = this.#room(1);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    Writer.#check(value, 0xffff);
    const at = this.#room(2);
    this.#view.setUint16(at, value, false);
    return this;
  }

  u32(value: number): this {
    Writer.#check(value, 0xffff_ffff);
    const at = this.#room(4);
    this.#view.setUint32(at, value, false);
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new KallioError('CODEC_RANGE', `${value} does not fit an unsigned 64-bit field.`);
    }
    const at = this.#room(8);
    this.#view.setBigUint64(at, value, false);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  /** What was written, as an array of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }
}
