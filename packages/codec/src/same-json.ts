/**
 * Whether two values are the same JSON: whether their canonical forms would be, without writing those. A member that is
 * `undefined` is none, as JSON has no such value.
 */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (Array.isArray(a) || Array.isArray(b)) return Array.isArray(a) && Array.isArray(b) && sameItems(a, b);
  let members = 0;
  for (const name of Object.keys(a)) {
    const member = a[name];
    if (member === undefined) continue;
    members++;
    if (!Object.hasOwn(b, name) || !sameJson(member, b[name])) return false;
  }
  for (const name of Object.keys(b)) if (b[name] !== undefined) members--;
  return members === 0;
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!sameJson(a[i], b[i])) return false;
  return true;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
