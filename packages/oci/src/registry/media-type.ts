import type { Answer } from '../http/connection.ts';
import { MEDIA } from '../manifest.ts';
import type { Asked } from './refusal.ts';

const KNOWN: ReadonlySet<string> = new Set(Object.values(MEDIA));

/**
 * What an answer says that it is, without its parameters. Another type than those that are read here is told on in a refusal:
 * where it repeats a credential, nothing is left of it.
 */
export function mediaTypeOf(answer: Answer, asked: Pick<Asked, 'without'>): string {
  const type = (answer.header('content-type') ?? '').split(';')[0]?.trim() ?? '';
  return KNOWN.has(type) || asked.without(type) === type ? type : '';
}
