import type { Answer } from '../http/connection.ts';

/** What an answer says that it is, without its parameters. */
export function mediaTypeOf(answer: Answer): string {
  return (answer.header('content-type') ?? '').split(';')[0]?.trim() ?? '';
}
