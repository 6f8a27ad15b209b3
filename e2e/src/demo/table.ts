import type { DemoRecord } from './record.ts';

/** The record as two tables for a person: step, what proved it, time; attack, who refused it, why. */
export function table(record: DemoRecord, width = 110): string {
  const steps = rows(
    ['', 'step', 'what proved it', 'time'],
    record.steps.map((s) => [s.ok ? '✔' : '✘', s.name, s.proof, `${(s.ms / 1000).toFixed(1)} s`]),
    width,
  );
  const attacks = rows(
    ['', 'attack', 'refused by', 'code and sentence'],
    record.attacks.map((a) => [a.refused ? '✔' : '✘', a.name, a.refusedBy, `${a.code}: ${a.message}`]),
    width,
  );
  const verdict = record.ok
    ? `Everything went as it should, in ${record.seconds} s.`
    : `NOT everything went as it should (${record.seconds} s).`;
  return `${[steps, ...(record.attacks.length === 0 ? [] : [attacks]), verdict].join('\n\n')}\n`;
}

/** Columns as wide as their content; the widest text column is wrapped to what is left of `width`. */
function rows(head: readonly string[], body: readonly (readonly string[])[], width: number): string {
  const all = [head, ...body];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const widest = widths.indexOf(Math.max(...widths));
  const others = widths.reduce((sum, w, column) => (column === widest ? sum : sum + w + 2), 0);
  widths[widest] = Math.max(24, Math.min(widths[widest] ?? 0, width - others));
  const lines = all.flatMap((row) => {
    const cells = row.map((cell, column) => wrap(cell, widths[column] ?? 0));
    const height = Math.max(...cells.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) =>
      cells
        .map((cell, column) => (cell[line] ?? '').padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  });
  lines.splice(1, 0, widths.map((w) => '─'.repeat(w)).join('  '));
  return lines.join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
