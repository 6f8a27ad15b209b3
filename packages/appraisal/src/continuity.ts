import { canonicalize, DigestSchema, decodeShape, Exact, Hex, parseJson } from '@kallio/codec';
import type { LoggedContainer } from '@kallio/evidence';
import { Type } from 'typebox';

/** A boot of an attester, as its TPM tells boots apart. `clock` is in milliseconds of TPM time. */
export interface BootState {
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clock: bigint;
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
}

/**
 * What a verifier keeps of an attester between two pieces of evidence. It holds only what an authentic quote has
 * proved; the next evidence is judged from here on.
 */
export interface Continuity {
  readonly boot: BootState;
  readonly instanceLog: {
    /** Entries judged in this boot. */
    readonly entries: number;
    /** PCR 14 after them, hexadecimal. */
    readonly pcr: string;
    /** Containers that the log has begun and not deleted. */
    readonly containers: readonly LoggedContainer[];
  };
}

/** Most containers that one instance log may hold open. */
export const MAX_CONTAINERS = 4096;

const Phase = Type.Union([
  Type.Literal('created'),
  Type.Literal('running'),
  Type.Literal('paused'),
  Type.Literal('stopping'),
]);
const Counter = Type.Integer({ minimum: 0 });
const Big = Type.String({ pattern: '^[0-9]{1,20}$' });

const Stored = Exact({
  version: Type.Literal('kallio-continuity-v1'),
  boot: Exact({
    resetCount: Counter,
    restartCount: Counter,
    clock: Big,
    safe: Type.Boolean(),
    firmwareVersion: Big,
  }),
  instanceLog: Exact({
    entries: Counter,
    pcr: Hex(32),
    containers: Type.Array(
      Exact({
        container: Type.String(),
        instance: Type.String(),
        image: DigestSchema,
        config: Type.Optional(DigestSchema),
        phase: Phase,
        inconsistent: Type.Boolean(),
      }),
    ),
  }),
});

/** As text for a store (JCS). */
export function continuityToJson({ boot, ...rest }: Continuity): string {
  return canonicalize({
    version: 'kallio-continuity-v1',
    ...rest,
    boot: { ...boot, clock: String(boot.clock), firmwareVersion: String(boot.firmwareVersion) },
  });
}

/** From a store; anything that {@link continuityToJson} did not write is `SHAPE_MISMATCH` or `JSON_…`. */
export function continuityFromJson(text: string): Continuity {
  const {
    version: _,
    boot,
    ...rest
  } = decodeShape(
    Stored,
    parseJson(text, { maxBytes: 64 * 1024 * 1024 }),
    'SHAPE_MISMATCH',
    'What was kept of an attester',
  );
  return {
    ...rest,
    boot: { ...boot, clock: BigInt(boot.clock), firmwareVersion: BigInt(boot.firmwareVersion) },
  };
}
