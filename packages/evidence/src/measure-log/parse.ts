import { decodeShape, Exact, fromHex, fromUtf8, KallioError, parseJson } from '@kallio/codec';
import { type HashName, hashBytes } from '@kallio/tpm/structures';
import { type Static, Type } from 'typebox';
import { evidenceError } from '../error.ts';

/**
 * A record of what user space measured after the boot. As with firmware events, a replay proves what was extended into
 * what, in which order; what the record says beside it is proved only where the text is what was hashed.
 */
export interface MeasureRecord {
  /** Place in the log, from 0. */
  readonly index: number;
  readonly authenticated: {
    /** Exactly one of them: a PCR, or the handle of an NV index that is extended like one. */
    readonly target: { readonly pcr: number } | { readonly nvIndex: number };
    readonly digests: ReadonlyMap<HashName, Uint8Array>;
  };
  readonly unauthenticated: {
    /** `phase`, `machine-id`, `filesystem`, `volume-key`, … */
    readonly eventType?: string;
    /** What was measured, or words for it. Proved only where {@link recordTextIsMeasured} says so. */
    readonly text?: string;
    readonly bootId?: string;
    /** Microseconds since the boot. */
    readonly timestamp?: number;
  };
}

const MAX_BYTES = 16 * 1024 * 1024;
const MAX_RECORDS = 65_536;
const MAX_RECORD = 64 * 1024;
const RECORD_SEPARATOR = '\u001e';

const Digest = Exact({
  hashAlg: Type.Union([
    Type.Literal('sha1'),
    Type.Literal('sha256'),
    Type.Literal('sha384'),
    Type.Literal('sha512'),
  ]),
  digest: Type.String({ pattern: '^(?:[0-9a-f]{2}){20,64}$' }),
});

/** A record as systemd writes it. What else `content` holds is for people, and newer versions add to it. */
const Written = Exact({
  recnum: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  pcr: Type.Optional(Type.Integer({ minimum: 0, maximum: 23 })),
  nv_index: Type.Optional(Type.Integer({ minimum: 0x0100_0000, maximum: 0x01ff_ffff })),
  digests: Type.Array(Digest, { minItems: 1, maxItems: 4 }),
  content_type: Type.Literal('systemd'),
  content: Type.Object({
    string: Type.Optional(Type.String()),
    bootId: Type.Optional(Type.String({ pattern: '^[0-9a-f]{32}$' })),
    timestamp: Type.Optional(Type.Integer({ minimum: 0 })),
    eventType: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,64}$' })),
  }),
});

/**
 * Parses systemd’s measurement log (`/run/log/systemd/tpm2-measure.log`): JSON texts with a record separator before each
 * (RFC 7464) or a line for each, shaped as TCG CEL-JSON (Canonical Event Log Format 1.0, section 5.1, without its record
 * numbers; systemd, docs/TPM2_PCR_MEASUREMENTS.md). Errors are `MEASURELOG_…` with the record’s number.
 */
export function parseMeasureLog(bytes: Uint8Array): MeasureRecord[] {
  if (bytes.length > MAX_BYTES) {
    throw evidenceError('MEASURELOG_TOO_LARGE', `A measurement log can’t have ${bytes.length} bytes.`);
  }
  const text = read(0, () => fromUtf8(bytes));
  const records: MeasureRecord[] = [];
  let before: number | undefined;
  for (const part of partsOf(text)) {
    const index = records.length;
    if (index >= MAX_RECORDS) {
      throw evidenceError(
        'MEASURELOG_TOO_LARGE',
        `A measurement log can’t have over ${MAX_RECORDS} records.`,
      );
    }
    const written = read(index, () =>
      decodeShape(Written, parseJson(part, { maxBytes: MAX_RECORD, maxDepth: 8 })),
    );
    // Stops a record that is left out, doubled or moved from passing where the log counts them.
    if (before !== undefined && written.recnum !== before + 1) {
      throw malformed(index, `its number is ${written.recnum ?? 'missing'}, after ${before}.`);
    }
    before = written.recnum;
    records.push(recordOf(index, written));
  }
  return records;
}

/** The JSON texts: each begins with a record separator, or each is a line. */
function partsOf(text: string): string[] {
  const separator = text.startsWith(RECORD_SEPARATOR) ? RECORD_SEPARATOR : '\n';
  return text.split(separator).filter((part) => part.trim() !== '');
}

function recordOf(index: number, written: Static<typeof Written>): MeasureRecord {
  const { pcr, nv_index: nvIndex, content } = written;
  // Stops a record from being counted for a PCR by one reader and for an NV index by another.
  if ((pcr === undefined) === (nvIndex === undefined)) {
    throw malformed(index, 'it names neither, or both, of a PCR and an NV index.');
  }
  const digests = new Map<HashName, Uint8Array>();
  for (const { hashAlg, digest } of written.digests) {
    const value = fromHex(digest);
    if (digests.has(hashAlg) || value.length !== hashBytes(hashAlg)) {
      throw malformed(index, `it has two ${hashAlg} digests, or one of ${value.length} bytes.`);
    }
    digests.set(hashAlg, value);
  }
  return {
    index,
    authenticated: { target: pcr === undefined ? { nvIndex: nvIndex ?? 0 } : { pcr }, digests },
    unauthenticated: {
      ...(content.eventType === undefined ? {} : { eventType: content.eventType }),
      ...(content.string === undefined ? {} : { text: content.string }),
      ...(content.bootId === undefined ? {} : { bootId: content.bootId }),
      ...(content.timestamp === undefined ? {} : { timestamp: content.timestamp }),
    },
  };
}

/** Gives an error of the layers below the number of the record. */
function read<T>(index: number, what: () => T): T {
  try {
    return what();
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    throw malformed(index, cause.message, cause);
  }
}

function malformed(index: number, why: string, cause?: unknown) {
  return evidenceError(
    'MEASURELOG_MALFORMED',
    `Record ${index} of the measurement log can’t be read: ${why}`,
    {
      pointer: `record:${index}`,
      cause,
    },
  );
}
