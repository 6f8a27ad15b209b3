import fc from 'fast-check';
import { type TSchema, Type } from 'typebox';

/** Schemas as they are written here, and values that fit them or nearly do. */
export const { schema: anySchema } = fc.letrec<{ schema: TSchema }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<TSchema>(
      Type.Null(),
      Type.Boolean(),
      Type.Unknown(),
      Type.Literal('a'),
      Type.Literal(1),
      Type.Literal(true),
      Type.Integer(),
      Type.Integer({ minimum: 0, maximum: 3 }),
      Type.Number({ minimum: -1 }),
      Type.String(),
      Type.String({ minLength: 1, maxLength: 2 }),
      Type.String({ pattern: '^[a-c]*$' }),
    ),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((all) => Type.Union(all)),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((all) => Type.Tuple(all)),
    tie('schema').map((items) => Type.Array(items, { minItems: 1, maxItems: 2 })),
    tie('schema').map((member) => Type.Record(Type.String(), member)),
    fc
      .tuple(
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.tuple(tie('schema'), fc.boolean())),
        fc.boolean(),
      )
      .map(([members, closed]) =>
        Type.Object(
          Object.fromEntries(
            Object.entries(members).map(([name, [schema, optional]]) => [
              name,
              optional ? Type.Optional(schema) : schema,
            ]),
          ),
          closed ? { additionalProperties: false } : {},
        ),
      ),
  ),
}));
export const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<unknown>(null, true, false, -1, 0, 1, 3, 4, 0.5, '', 'a', 'ab', 'abc', 'abcd', 'x'),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), tie('value')),
  ),
}));
