/** The time a server goes by. One reading is taken per request, so that all of its checks agree. */
export type Clock = () => Date;

/** RFC 3339, UTC, from milliseconds since 1970. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
