/** What stands in the place of a credential. */
const PLACEHOLDER = '[credential]';
/** From so many characters on a credential is replaced; what is left around a shorter one might tell which word it was. */
const REPLACED = 16;
/** So many characters in a row that stand in a credential too, short or long, are taken for a part of it. */
const PART = { ofShort: 4, ofLong: 8 };
/** From so many characters on it is long. */
const LONG = 32;
/** Most characters of credentials that a text is compared with: attack, a realm that gives one long token after another. */
const MAX_COMPARED = 64 * 1024;

/**
 * What one registry and its realm have been shown of who asks; it must not be in what is told on of their words: a registry,
 * or who stands before it, may repeat it in an error ("bad token …").
 */
export class Shown {
  readonly #secrets = new Set<string>();
  #length = 0;

  /** Notes a secret, in the spelling that it is shown in. */
  add(secret: string): void {
    if (this.#secrets.has(secret)) return;
    this.#secrets.add(secret);
    this.#length += secret.length;
  }

  /**
   * A text without what was shown: plain, in base64, or as URLs, forms and JSON spell it. Undefined where a part of it may be
   * left, also with other case or spaces in between, or where there is too much to look for: then nothing is to be told.
   */
  without(text: string): string | undefined {
    if (this.#length > MAX_COMPARED) return undefined;
    const spellings = [...this.#secrets].flatMap(spellingsOf);
    let pieces = [text];
    // The longest first: what is spelled otherwise may hold the plain one.
    for (const spelling of spellings.toSorted((a, b) => b.length - a.length)) {
      if (spelling.length >= REPLACED) pieces = pieces.flatMap((piece) => piece.split(spelling));
    }
    const left = pieces.map(folded);
    return spellings.map(folded).some((spelling) => left.some((piece) => sharesPart(piece, spelling)))
      ? undefined
      : pieces.join(PLACEHOLDER);
  }

  /** Does a text hold nothing of what was shown? */
  isNotIn(text: string): boolean {
    return this.without(text) === text;
  }
}

function spellingsOf(secret: string): readonly string[] {
  const form = new URLSearchParams([['', secret]]).toString().slice(1);
  const json = JSON.stringify(secret).slice(1, -1);
  const plain = [secret, encodeURIComponent(secret.toWellFormed()), form, json];
  return [...new Set([...plain, ...base64Of(secret)])].filter((spelling) => spelling !== '');
}

/** In base64, also of a longer text that the secret stands in: then it begins at one of three places in four characters. */
function base64Of(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const found = [0, 1, 2].flatMap((before) => {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    // Not the characters that what stands before or after it has a part in.
    const [from, to] = [Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6)];
    return [padded.toString('base64').slice(from, to), padded.toString('base64url').slice(from, to)];
  });
  // Fewer may stand in any text.
  return found.filter(({ length }) => length >= PART.ofShort);
}

/** Without what is easily lost or put in: case, spaces, line ends, characters that don't show. */
function folded(text: string): string {
  return text.toLowerCase().replace(/[\s\p{C}]/gu, '');
}

function sharesPart(text: string, secret: string): boolean {
  const length = Math.min(secret.length, secret.length < LONG ? PART.ofShort : PART.ofLong);
  if (length === 0) return false;
  const parts = new Set<string>();
  for (let at = 0; at + length <= text.length; at++) parts.add(text.slice(at, at + length));
  for (let at = 0; at + length <= secret.length; at++)
    if (parts.has(secret.slice(at, at + length))) return true;
  return false;
}
