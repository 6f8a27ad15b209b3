import type { Json } from '@kallio/codec';

/** The members of a JSON object; none of anything else. A Map, so that no outside name meets a prototype. */
export function membersOf(value: Json | undefined): ReadonlyMap<string, Json> {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return new Map(isObject ? Object.entries(value) : []);
}
