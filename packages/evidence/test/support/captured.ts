import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Reader, toBase64, toHex } from '@kallio/codec';
import { readSized } from '@kallio/tpm/structures';
import type { Attestation, PcrBank } from '../../src/index.ts';

// Evidence of real TPMs; what each file is stands in the README of its folder.

/** A file of `fixtures/debian12-qemu`. */
export function captured(name: string): Uint8Array {
  return fixture(`debian12-qemu/${name}`);
}

/** A file of `fixtures`. */
export function fixture(path: string): Uint8Array {
  return new Uint8Array(readFileSync(join(import.meta.dirname, '../fixtures', path)));
}

/** TPMT_PUBLIC out of the TPM2B_PUBLIC that tpm2-tools write. */
export function publicArea(path: string): Uint8Array {
  return readSized(new Reader(fixture(path)), 1024, 'The public area').slice();
}

/** A quote as it travels. */
export function quoteOf(path: string): Attestation {
  return { attest: toBase64(fixture(`${path}.msg`)), signature: toBase64(fixture(`${path}.sig`)) };
}

/**
 * PCR values out of the file that `tpm2_quote -o` writes for PCRs 0 and up of one bank: a TPML_PCR_SELECTION of fixed
 * size and a list of TPML_DIGEST with eight slots each, both as the C structures lie in memory.
 */
export function pcrsOf(path: string, count: number): PcrBank {
  const bytes = fixture(`${path}.pcrs`);
  const reader = new Reader(bytes);
  reader.bytes(4 + 16 * 8);
  const values: Uint8Array[] = [];
  for (let lists = reader.u32le(); lists > 0; lists--) {
    const used = reader.u32le();
    for (let slot = 0; slot < 8; slot++) {
      const size = reader.u16le();
      const digest = reader.bytes(64).subarray(0, size);
      if (slot < used) values.push(digest);
    }
  }
  reader.end('The PCR values');
  if (values.length !== count) throw new Error(`${path} has ${values.length} PCRs, not ${count}`);
  return {
    bank: 'sha256',
    values: Object.fromEntries(values.map((value, pcr) => [String(pcr), toHex(value)])),
  };
}

/** The value of a PCR in a bank that is offered. */
export function pcrValue(bank: PcrBank, pcr: number): string {
  const value = bank.values[String(pcr)];
  if (value === undefined) throw new Error(`no PCR ${pcr}`);
  return value;
}
