import type { HashName } from '@kallio/tpm/structures';

/**
 * An event of the firmware's log. What a replay to the quoted PCRs proves stands under `authenticated`; everything
 * else is what the log says of itself. In particular the *type* of an event is not authenticated: whoever writes the
 * log can give a measurement another type and other data. (google/go-attestation, event-log-disclosure.md.)
 */
export interface FirmwareEvent {
  /** Place in the log, the specification-ID event being 0. */
  readonly index: number;
  /** True once the log has been replayed to quoted PCRs, and only as far as those were quoted. */
  readonly authenticated: {
    readonly pcr: number;
    readonly digests: ReadonlyMap<HashName, Uint8Array>;
  };
  readonly unauthenticated: {
    readonly type: number;
    /** Proved only where {@link eventDataIsMeasured} says that it is what was hashed. */
    readonly data: Uint8Array;
  };
}

/** An EV_NO_ACTION event: what the log says of itself. Nothing extends a PCR for it, so nothing in it is ever proved. */
export interface FirmwareNote {
  readonly index: number;
  readonly unauthenticated: { readonly pcr: number; readonly data: Uint8Array };
}

/** A parsed firmware event log. */
export interface EventLog {
  /** SHA-1 only (TCG EFI Protocol 1.2), or with digests of every bank that the firmware keeps. */
  readonly format: 'sha1' | 'crypto-agile';
  /** Banks that every event has a digest of. */
  readonly banks: readonly HashName[];
  /** The locality that TPM2_Startup came from: PCR 0 starts with it as its last byte. */
  readonly startupLocality: 0 | 3 | 4;
  /** Events that were extended; EV_NO_ACTION events are not among them. */
  readonly events: readonly FirmwareEvent[];
  /** EV_NO_ACTION events. */
  readonly notes: readonly FirmwareNote[];
}

/** Event types (TCG PC Client Platform Firmware Profile 1.06, table 27). */
const EVENT_TYPES: ReadonlyMap<number, string> = new Map([
  [0x0000_0000, 'EV_PREBOOT_CERT'],
  [0x0000_0001, 'EV_POST_CODE'],
  [0x0000_0003, 'EV_NO_ACTION'],
  [0x0000_0004, 'EV_SEPARATOR'],
  [0x0000_0005, 'EV_ACTION'],
  [0x0000_0006, 'EV_EVENT_TAG'],
  [0x0000_0007, 'EV_S_CRTM_CONTENTS'],
  [0x0000_0008, 'EV_S_CRTM_VERSION'],
  [0x0000_0009, 'EV_CPU_MICROCODE'],
  [0x0000_000a, 'EV_PLATFORM_CONFIG_FLAGS'],
  [0x0000_000b, 'EV_TABLE_OF_DEVICES'],
  [0x0000_000c, 'EV_COMPACT_HASH'],
  [0x0000_000d, 'EV_IPL'],
  [0x0000_000e, 'EV_IPL_PARTITION_DATA'],
  [0x0000_000f, 'EV_NONHOST_CODE'],
  [0x0000_0010, 'EV_NONHOST_CONFIG'],
  [0x0000_0011, 'EV_NONHOST_INFO'],
  [0x0000_0012, 'EV_OMIT_BOOT_DEVICE_EVENTS'],
  [0x0000_0013, 'EV_POST_CODE2'],
  [0x8000_0001, 'EV_EFI_VARIABLE_DRIVER_CONFIG'],
  [0x8000_0002, 'EV_EFI_VARIABLE_BOOT'],
  [0x8000_0003, 'EV_EFI_BOOT_SERVICES_APPLICATION'],
  [0x8000_0004, 'EV_EFI_BOOT_SERVICES_DRIVER'],
  [0x8000_0005, 'EV_EFI_RUNTIME_SERVICES_DRIVER'],
  [0x8000_0006, 'EV_EFI_GPT_EVENT'],
  [0x8000_0007, 'EV_EFI_ACTION'],
  [0x8000_0008, 'EV_EFI_PLATFORM_FIRMWARE_BLOB'],
  [0x8000_0009, 'EV_EFI_HANDOFF_TABLES'],
  [0x8000_000a, 'EV_EFI_PLATFORM_FIRMWARE_BLOB2'],
  [0x8000_000b, 'EV_EFI_HANDOFF_TABLES2'],
  [0x8000_000c, 'EV_EFI_VARIABLE_BOOT2'],
  [0x8000_000d, 'EV_EFI_GPT_EVENT2'],
  [0x8000_0010, 'EV_EFI_HCRTM_EVENT'],
  [0x8000_00e0, 'EV_EFI_VARIABLE_AUTHORITY'],
  [0x8000_00e1, 'EV_EFI_SPDM_FIRMWARE_BLOB'],
  [0x8000_00e2, 'EV_EFI_SPDM_FIRMWARE_CONFIG'],
  [0x8000_00e3, 'EV_EFI_SPDM_DEVICE_POLICY'],
  [0x8000_00e4, 'EV_EFI_SPDM_DEVICE_AUTHORITY'],
]);

/** The name of an event's type; one that is not known is named by its number. */
export function eventTypeName(type: number): string {
  return EVENT_TYPES.get(type) ?? `0x${type.toString(16).padStart(8, '0')}`;
}
