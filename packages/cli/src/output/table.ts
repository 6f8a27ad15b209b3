/** Rows as columns, each as wide as its widest cell. An empty table says so. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], empty: string): string {
  if (rows.length === 0) return empty;
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A digest or key, short enough for a table. */
export function short(digest: string | undefined): string {
  return digest === undefined ? '-' : digest.replace(/^sha256:/, '').slice(0, 12);
}
