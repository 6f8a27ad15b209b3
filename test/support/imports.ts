/** What one source text imports, and why some of it could not be read. */
export interface Imports {
  /** Every specifier, of whatever kind of import. */
  readonly all: readonly string[];
  /** Those that are loaded before the file runs: neither types, which are gone by then, nor `import()`. */
  readonly loaded: readonly string[];
  readonly unreadable: readonly string[];
}

// Statements begin a line: the formatter sees to that. The first quoted text of an import is its specifier.
const STATIC_IMPORT = /^import\b(?!\s*[(.])[^'"]*(['"])(.*?)\1/gm;
const RE_EXPORT = /^export\s+(?:type\s+)?(?:\*(?:\s+as\s+[\w$]+)?|\{[^}]*\})\s*from\s*(['"])(.*?)\1/gm;
// Also of types: `typeof import('x')`.
const DYNAMIC_IMPORT = /(?<![\w$.])import\s*\(\s*(?:(['"])(.*?)\1\s*[,)])?/g;
const TYPES_ONLY = /^(?:import|export)\s+type\s+(?!from\b)/;
const OTHER_WAYS = /(?<![\w$.])require\s*\(|\bcreateRequire\b|\bgetBuiltinModule\b/;
const SPECIFIER = /^[@\w./:-]+$/;

/**
 * Finds imports by their text. Whatever looks like an import and can't be read as one is reported, never skipped: a
 * check of the layout that overlooks an import is worth nothing.
 */
export function importsOf(source: string): Imports {
  const text = withoutComments(source);
  const all = new Set<string>();
  const loaded = new Set<string>();
  const unreadable: string[] = [];
  for (const pattern of [STATIC_IMPORT, RE_EXPORT, DYNAMIC_IMPORT]) {
    for (const [statement, , specifier] of text.matchAll(pattern)) {
      if (specifier === undefined || !SPECIFIER.test(specifier)) {
        unreadable.push(`an import of no plain name: ${statement.replaceAll(/\s+/g, ' ')}`);
        continue;
      }
      all.add(specifier);
      if (pattern !== DYNAMIC_IMPORT && !TYPES_ONLY.test(statement)) loaded.add(specifier);
    }
  }
  if (OTHER_WAYS.test(text)) unreadable.push('a way to load modules that is no import');
  return { all: [...all], loaded: [...loaded], unreadable };
}

/** Only comments that begin a line: a `//` further on may be part of a text. */
function withoutComments(source: string): string {
  return source.replaceAll(/^[ \t]*\/\*[\s\S]*?\*\/[ \t]*/gm, '').replaceAll(/^[ \t]*\/\/.*$/gm, '');
}
