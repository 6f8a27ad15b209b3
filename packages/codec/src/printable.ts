const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Text that somebody else wrote, safe to show in a line: control characters, line breaks among them, and what turns the
 * direction of writing, as JSON escapes them (so what is JSON stays it). Stops an image's label or a file's name from moving
 * the cursor of whoever looks at it, and from printing lines that are not its own: `VERIFIED`, for one.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    let escaped = '';
    for (let i = 0; i < character.length; i++)
      escaped += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
    return escaped;
  });
}
