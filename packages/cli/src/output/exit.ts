/** Exit codes of every command: 0 yes, 1 refused or failed, 2 unusable input. */
export const EXIT = { ok: 0, refused: 1, usage: 2 } as const;

/** Codes that say the input could not be used, as opposed to judged. */
const UNUSABLE =
  /^(?:USAGE|JSON_|LOG_VERIFIER_KEY|CODEC_|SHAPE_|CLI_|OCI_REFERENCE|IMAGE_POLICY_INVALID|AGENT_CONFIG|CONFIG_|TPM_ADDRESS|REQUEST_INVALID|SERVER_(?:NOT_INITIALISED|ALREADY_INITIALISED))/;

/** The exit code for a refusal. */
export function exitCodeOf(code: string): number {
  return UNUSABLE.test(code) ? EXIT.usage : EXIT.refused;
}
