/** How a registry wants to be shown who asks (`WWW-Authenticate`, RFC 9110 section 11.6.1). */
export type Challenge =
  | { readonly scheme: 'basic' }
  /** With a token that the realm gives (distribution, "Token Authentication Specification"). */
  | { readonly scheme: 'bearer'; readonly realm: string; readonly service: string | undefined };

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const QUOTED = '"(?:[\\t !#-[\\]-~\\x80-\\xff]|\\\\[\\t -~\\x80-\\xff])*"';
/**
 * A parameter, or the name of a scheme with its first one: what stands between two commas. Attack: thousands of spaces, which
 * are divided in every way before nothing comes of it.
 */
const PART = new RegExp(
  `^(?:(?<scheme>${TOKEN})(?: +(?! )|(?=,)|$))?(?:(?<name>${TOKEN})[\\t ]*=[\\t ]*(?<value>${TOKEN}|${QUOTED}))?[\\t ]*(?:,[\\t ]*|$)`,
);
/** Longest value that is read. Attack: one that takes long to look at. */
const MAX_LENGTH = 8192;

/**
 * What of it can be answered here, of several the one that gives the password to fewer: a token's realm asks for it less
 * often than every question. Undefined where there is nothing, or something malformed.
 */
export function challengeOf(header: string | undefined): Challenge | undefined {
  if (header === undefined || header.length > MAX_LENGTH) return undefined;
  const found: { scheme: string; parameters: Map<string, string> }[] = [];
  for (let rest = header; rest !== ''; ) {
    const match = PART.exec(rest);
    const { scheme, name, value } = match?.groups ?? {};
    if (match === null || match[0] === '' || (scheme === undefined && name === undefined)) return undefined;
    if (scheme !== undefined) found.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    const parameters = found.at(-1)?.parameters;
    if (name !== undefined && value !== undefined) {
      // Attack: a realm said twice, of which two readers take another each.
      if (parameters === undefined || parameters.has(name.toLowerCase())) return undefined;
      parameters.set(name.toLowerCase(), unquoted(value));
    }
    rest = rest.slice(match[0].length);
  }
  const bearer = found.find(({ scheme }) => scheme === 'bearer')?.parameters;
  const realm = bearer?.get('realm');
  if (realm !== undefined) return { scheme: 'bearer', realm, service: bearer?.get('service') };
  return found.some(({ scheme }) => scheme === 'basic') ? { scheme: 'basic' } : undefined;
}

function unquoted(value: string): string {
  return value.startsWith('"') ? value.slice(1, -1).replaceAll(/\\(.)/g, '$1') : value;
}
