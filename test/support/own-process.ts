/** Test files that change or measure the process they run in, and so have one to themselves (vitest.config.ts). */
export const OWN_PROCESS: readonly string[] = [
  'packages/evidence/test/ima-stream.test.ts',
  'packages/oci/test/credential-echo.test.ts',
  'packages/oci/test/hostile-registry.test.ts',
  'packages/oci/test/http-proxy.test.ts',
  'packages/oci/test/http-tls.test.ts',
  'packages/oci/test/layers.test.ts',
  'packages/oci/test/led-elsewhere.test.ts',
  'packages/signature/test/ahead.test.ts',
  'packages/tpm/test/transports.test.ts',
];

const SIGNS: readonly RegExp[] = [
  // Its memory, or its collector.
  /\bmemoryUsage\(/,
  /\bsetFlagsFromString\(/,
  // Its clock, or its modules.
  /\bvi\.(?:useFakeTimers|setSystemTime|mock|doMock|unmock|doUnmock|resetModules|stub\w+)\(/,
  // Whom it trusts, what it hears, where it is.
  /\bsetDefaultCACertificates\(/,
  /\bprocess\.(?:on|once|chdir|umask|setu?id)\(/,
  /\bprocess\.env(?:\.\w+|\[[^\]]+\]) = /,
  /\bdelete process\.env[.[]/,
];

/** Whether a test of this text changes or measures its process. */
export function needsOwnProcess(text: string): boolean {
  return SIGNS.some((sign) => sign.test(text));
}
