import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  commandLines,
  type DecodedEvent,
  decodeEvent,
  type EventLog,
  parseEventLog,
  replayEventLog,
  secureBootState,
} from '../src/index.ts';
import { flip } from './support/bytes.ts';
import { captured } from './support/captured.ts';
import { measuredLog, secureBootEvents, TYPE, variable, wide } from './support/efi.ts';
import { outcome } from './support/refusal.ts';

// One bit of a log, anywhere: what is proved after it was proved before it, or the replay leads elsewhere.

/** What a log leads to, as text. */
function leadsTo(log: EventLog, bank: EventLog['banks'][number]): string {
  return [...replayEventLog(log, bank)].map(([pcr, value]) => `${pcr}:${toHex(value)}`).join(' ');
}

/** What a decoded event proves: bytes, whatever they are called. */
function proved(decoded: DecodedEvent, data: Uint8Array): string {
  if (decoded.proof === 'none') return '';
  if (decoded.proof === 'all') return toHex(data);
  const { measured } = decoded;
  return measured.part === 'text' ? measured.text : toHex(measured.data);
}

/** Everything that is proved, a line each. */
function facts(log: EventLog, bank: EventLog['banks'][number]): Set<string> {
  const list: string[] = [];
  for (const event of log.events) {
    const decoded = outcome(() => decodeEvent(event, bank));
    if ('code' in decoded) expectCode(decoded.code);
    else list.push(`${event.index} proves ${proved(decoded.value, event.unauthenticated.data)}`);
  }
  const boot = outcome(() => secureBootState(log, bank));
  if ('code' in boot) expectCode(boot.code);
  else {
    const { enabled, databases, authorities } = boot.value;
    if (enabled !== undefined) list.push(`secure boot ${enabled}`);
    for (const [name, lists] of databases) {
      const signatures = lists.flatMap((one) =>
        one.signatures.map(({ data }) => `${one.type}:${toHex(data)}`),
      );
      list.push(`${name} ${signatures.join(' ')}`);
    }
    for (const { signature } of authorities)
      if (signature !== undefined) list.push(`by ${toHex(signature.data)}`);
  }
  const lines = outcome(() => commandLines(log, bank));
  if ('code' in lines) expectCode(lines.code);
  else for (const line of lines.value) if (line.by !== 'linux') list.push(`line ${line.text}`);
  return new Set(list);
}

function expectCode(code: string): void {
  if (!/^EVENTLOG_(?:DATA|SIGNATURES|SECURE_BOOT|BANK)$/.test(code)) expect.fail(`refused as ${code}`);
}

/** What a flip came to. */
function verdict(
  bytes: Uint8Array,
  bit: number,
  honest: { readonly end: string; readonly facts: Set<string> },
) {
  const result = outcome(() => {
    const log = parseEventLog(flip(bytes, bit));
    return { log, end: leadsTo(log, 'sha256') };
  });
  if ('code' in result) {
    if (!result.code.startsWith('EVENTLOG_')) expect.fail(`bit ${bit}: ${result.code}`);
    return 'refused' as const;
  }
  const found = facts(result.value.log, 'sha256');
  if (result.value.end !== honest.end) return 'elsewhere' as const;
  for (const fact of found) {
    // An event that proves nothing any more says so.
    if (!honest.facts.has(fact) && !fact.endsWith('proves ')) expect.fail(`bit ${bit} proves: ${fact}`);
  }
  return found.size === honest.facts.size ? ('same' as const) : ('less' as const);
}

const command: Parameters<typeof measuredLog>[0] = [
  {
    pcr: 8,
    type: TYPE.ipl,
    data: new TextEncoder().encode('kernel_cmdline: root=/dev/vda\0'),
    hashed: new TextEncoder().encode('root=/dev/vda'),
  },
  { pcr: 12, type: TYPE.ipl, data: wide('quiet ro\0'), hashed: wide('quiet ro') },
  {
    pcr: 7,
    type: TYPE.authority,
    data: variable('605dab50-e046-4300-abb6-3dd810dd8b23', 'SbatLevel', Uint8Array.of(7)),
  },
];

describe('with any one bit turned, nothing more is proved', () => {
  test.each([
    ['the captured log', captured('bios.bin')],
    ['a log with keys, authorities and command lines', measuredLog([...secureBootEvents(), ...command])],
  ])('by %s', { timeout: 60_000 }, (_, bytes) => {
    // Stops secure boot, a key or a command line from being put into a log that leads to the quoted PCRs all the same.
    const log = parseEventLog(bytes);
    const honest = { end: leadsTo(log, 'sha256'), facts: facts(log, 'sha256') };
    const counts = { refused: 0, elsewhere: 0, less: 0, same: 0 };
    for (let bit = 0; bit < bytes.length * 8; bit++) counts[verdict(bytes, bit, honest)]++;
    expect(counts.refused).toBeGreaterThan(500);
    expect(counts.elsewhere).toBeGreaterThan(500);
    expect(counts.less).toBeGreaterThan(500);
  });

  const folder = join(import.meta.dirname, '../../../../shared/vectors/eventlogs');
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  test.skipIf(names.length === 0)(
    'by the logs of other machines, bits chosen by chance (skipped where ../shared/vectors is absent)',
    { timeout: 60_000 },
    () => {
      for (const name of names) {
        const bytes = new Uint8Array(readFileSync(join(folder, name)));
        const log = parseEventLog(bytes);
        if (!log.banks.includes('sha256')) continue;
        const honest = { end: leadsTo(log, 'sha256'), facts: facts(log, 'sha256') };
        fc.assert(
          fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
            verdict(bytes, bit, honest);
          }),
          { numRuns: 300 },
        );
      }
    },
  );
});
