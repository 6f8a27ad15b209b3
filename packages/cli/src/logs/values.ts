import { toHex } from '@kallio/codec';

/** PCR values by number, a line each. */
export function valueLines(bank: string, values: ReadonlyMap<number, Uint8Array>): string[] {
  return [...values]
    .sort(([a], [b]) => a - b)
    .map(([pcr, value]) => `PCR ${String(pcr).padEnd(2)}  ${bank}:${toHex(value)}`);
}
