import { KallioError, type Reader, Writer } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import { type PcrSelection, readPcrSelections } from '../structures/pcr-selection.ts';
import type { Tpm } from '../tpm.ts';

/** What a TPM can be asked about (TPM_CAP, Part 2 section 6.12). */
export type CapabilityName = 'algorithms' | 'handles' | 'commands' | 'pcrs' | 'properties' | 'curves';

const TPM_CAP: Readonly<Record<CapabilityName, number>> = {
  algorithms: 0,
  handles: 1,
  commands: 2,
  pcrs: 5,
  properties: 6,
  curves: 8,
};

/** TPMS_CAPABILITY_DATA (Part 2 section 10.10.2), of the kinds asked for here. */
export interface Capabilities {
  /** TPM_ALG_ID and TPMA_ALGORITHM. */
  readonly algorithms: ReadonlyMap<number, number>;
  readonly handles: readonly number[];
  /** TPMA_CC: the command code in the low 16 bits, attributes above. */
  readonly commands: readonly number[];
  readonly pcrs: readonly PcrSelection[];
  /** TPM_PT and its value. */
  readonly properties: ReadonlyMap<number, number>;
  /** TPM_ECC_CURVE. */
  readonly curves: readonly number[];
}

/** One answer; with `more`, there is more of the kind after the last. */
export interface Capability<Name extends CapabilityName> {
  readonly more: boolean;
  readonly values: Capabilities[Name];
}

/** A response of 4096 bytes holds no longer list. */
const MAX_LIST = 1024;

const READ: { readonly [Name in CapabilityName]: (reader: Reader) => Capabilities[Name] } = {
  algorithms: (reader) =>
    new Map(list(reader, () => [reader.u16('An algorithm'), reader.u32('Its attributes')])),
  handles: (reader) => list(reader, () => reader.u32('A handle')),
  commands: (reader) => list(reader, () => reader.u32('A command')),
  pcrs: readPcrSelections,
  properties: (reader) => new Map(list(reader, () => [reader.u32('A property'), reader.u32('Its value')])),
  curves: (reader) => list(reader, () => reader.u16('A curve')),
};

/** TPM2_GetCapability (Part 3 section 30.2): at most `count` of the kind, from the number `first` on. */
export async function getCapability<Name extends CapabilityName>(
  tpm: Tpm,
  name: Name,
  first = 0,
  count = 256,
): Promise<Capability<Name>> {
  const { parameters } = await tpm.execute({
    name: 'TPM2_GetCapability',
    code: 0x17a,
    parameters: new Writer(12).u32(TPM_CAP[name]).u32(first).u32(count).finish(),
  });
  const more = parameters.u8('The flag for more') !== 0;
  const given = parameters.u32('The capability');
  if (given !== TPM_CAP[name]) throw malformed(`It speaks of capability ${given}, not ${TPM_CAP[name]}.`);
  const values = READ[name](parameters);
  parameters.end('TPM2_GetCapability');
  return { more, values };
}

function list<T>(reader: Reader, read: () => T): T[] {
  const count = reader.u32('The length of a list');
  if (count > MAX_LIST) throw malformed(`It lists ${count} values.`);
  return Array.from({ length: count }, read);
}

function malformed(why: string): KallioError {
  return new KallioError<TpmCode>(
    'TPM_RESPONSE_MALFORMED',
    `The response to TPM2_GetCapability makes no sense. ${why}`,
  );
}
