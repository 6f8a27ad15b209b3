/** Media and artifact type of the raw evidence that travels with an image: a JSON list of evidence messages. */
export const EVIDENCE_TYPE = 'application/vnd.kallio.evidence.v1+json';
/** Largest evidence read, in bytes. */
export const MAX_EVIDENCE = 64 * 1024 * 1024;
