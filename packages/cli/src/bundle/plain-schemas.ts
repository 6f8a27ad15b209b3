/*
 * Stands in for TypeBox where schemas are only made to be checked by: the same JSON Schemas, without what TypeBox hides in
 * each for its own readers. To make these takes a twentieth of the time, and to load this a tenth of a start.
 */

type Schema = Readonly<Record<string, unknown>>;

/** Which schemas are of members that may be left out. */
const optional = new WeakSet<Schema>();

const of =
  (type: string) =>
  (options: Schema = {}): Schema => ({ type, ...options });

/** What is used of TypeBox's `Type`. A word that is missing here is missing at once: nothing starts. */
export const Type = {
  Null: of('null'),
  Boolean: of('boolean'),
  Number: of('number'),
  Integer: of('integer'),
  String: of('string'),

  Unknown: (options: Schema = {}): Schema => ({ ...options }),
  Unsafe: (schema: Schema): Schema => ({ ...schema }),
  Literal: (value: string | number | boolean): Schema => ({ type: typeof value, const: value }),
  Union: (anyOf: readonly Schema[], options: Schema = {}): Schema => ({ anyOf, ...options }),

  Array: (items: Schema, options: Schema = {}): Schema => ({ type: 'array', items, ...options }),
  Tuple: (items: readonly Schema[], options: Schema = {}): Schema => ({
    type: 'array',
    additionalItems: false,
    items,
    minItems: items.length,
    ...options,
  }),

  Object(properties: Readonly<Record<string, Schema>>, options: Schema = {}): Schema {
    const required = Object.keys(properties).filter((name) => !optional.has(properties[name] ?? {}));
    return { type: 'object', ...(required.length === 0 ? {} : { required }), properties, ...options };
  },
  Record: (names: Schema, members: Schema, options: Schema = {}): Schema => ({
    type: 'object',
    patternProperties: { [String(names.pattern ?? '^.*$')]: members },
    ...options,
  }),

  Optional(schema: Schema): Schema {
    const copy = { ...schema };
    optional.add(copy);
    return copy;
  },
};
