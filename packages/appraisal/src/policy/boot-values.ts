import { sha256, toHex, utf8 } from '@kallio/codec';
import type { BootClass, BootValue, TextEncoding } from './schema.ts';

/** A reference value of the boot, by what it is called. */
export interface KnownMeasurement {
  readonly class: BootClass;
  readonly name: string;
  readonly verifiedRoot: boolean;
}

/** What may be measured to one PCR in the boot. */
export interface BootReferences {
  /** By digest, hexadecimal. */
  readonly known: ReadonlyMap<string, KnownMeasurement>;
  /** Classes of which one measurement must be there. */
  readonly required: ReadonlySet<BootClass>;
}

/** Values that are named for a PCR and a class. */
interface NamedValues {
  readonly pcr: number;
  readonly class: BootClass;
  readonly values: readonly BootValue[];
  readonly required?: true;
}

/** The boot's reference values by PCR. */
export function compileBoot(boot: readonly NamedValues[] = []): Map<number, BootReferences> {
  const groups = Map.groupBy(boot, ({ pcr }) => pcr);
  return new Map(
    [...groups].map(([pcr, references]) => {
      const known = references.flatMap(({ class: what, values }) =>
        values.map((value): [string, KnownMeasurement] => [
          digestOfValue(value),
          { class: what, name: value.name, verifiedRoot: value.verifiedRoot === true },
        ]),
      );
      const required = references.filter((one) => one.required === true).map((one) => one.class);
      return [pcr, { known: new Map(known), required: new Set(required) }];
    }),
  );
}

/** The SHA-256 that a value stands for, hexadecimal. */
function digestOfValue(value: BootValue): string {
  return 'digest' in value ? value.digest : toHex(sha256(encoded(value.text, value.encoding)));
}

function encoded(text: string, encoding: TextEncoding): Uint8Array {
  switch (encoding) {
    case 'utf-8':
      return utf8(text);
    case 'utf-8-nul':
      return utf8(`${text}\0`);
    case 'utf-16le':
      return new Uint8Array(Buffer.from(text, 'utf16le'));
    case 'utf-16le-nul':
      return new Uint8Array(Buffer.from(`${text}\0`, 'utf16le'));
  }
}
