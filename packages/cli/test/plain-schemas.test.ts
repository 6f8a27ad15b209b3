import fc from 'fast-check';
import * as typebox from 'typebox';
import { expect, it } from 'vitest';
import { Type as Plain } from '../src/bundle/plain-schemas.ts';

/** One schema, made by both. */
type Both = readonly [typebox.TSchema, Readonly<Record<string, unknown>>];

type Simple = 'Null' | 'Boolean' | 'Number' | 'Integer' | 'String' | 'Unknown';
const both = (name: Simple, options: Record<string, unknown> = {}): Both => [
  typebox.Type[name](options),
  Plain[name](options),
];

const { schema } = fc.letrec<{ schema: Both }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom<Both>(
      both('Null'),
      both('Boolean'),
      both('Number', { minimum: 0 }),
      both('Integer', { minimum: -1, maximum: 3 }),
      both('String'),
      both('String', { pattern: '^a$', maxLength: 3 }),
      both('Unknown'),
      ...(['a', 1, true] as const).map((value): Both => [typebox.Type.Literal(value), Plain.Literal(value)]),
      [typebox.Type.Unsafe<string>(typebox.Type.String()), Plain.Unsafe(Plain.String())],
    ),
    fc
      .array(tie('schema'), { maxLength: 3 })
      .map((all): Both => [typebox.Type.Union(all.map(([t]) => t)), Plain.Union(all.map(([, p]) => p))]),
    fc
      .array(tie('schema'), { maxLength: 3 })
      .map((all): Both => [typebox.Type.Tuple(all.map(([t]) => t)), Plain.Tuple(all.map(([, p]) => p))]),
    fc
      .tuple(tie('schema'), fc.constantFrom({}, { maxItems: 3 }, { minItems: 1, uniqueItems: true }))
      .map(([[t, p], options]): Both => [typebox.Type.Array(t, options), Plain.Array(p, options)]),
    fc
      .tuple(
        tie('schema'),
        fc.constantFrom({}, { pattern: '^[a-z]$' }),
        fc.constantFrom({}, { additionalProperties: false }),
      )
      .map(
        ([[t, p], names, options]): Both => [
          typebox.Type.Record(typebox.Type.String(names), t, options),
          Plain.Record(Plain.String(names), p, options),
        ],
      ),
    fc
      .tuple(
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.tuple(tie('schema'), fc.boolean())),
        fc.constantFrom({}, { additionalProperties: false }, { title: 'A' }),
      )
      .map(([members, options]): Both => {
        const all = Object.entries(members);
        return [
          typebox.Type.Object(
            Object.fromEntries(all.map(([name, [[t], o]]) => [name, o ? typebox.Type.Optional(t) : t])),
            options,
          ),
          Plain.Object(
            Object.fromEntries(all.map(([name, [[, p], o]]) => [name, o ? Plain.Optional(p) : p])),
            options,
          ),
        ];
      }),
  ),
}));

it('makes the JSON Schemas that TypeBox makes', () => {
  fc.assert(
    fc.property(schema, ([t, p]) => {
      expect(JSON.parse(JSON.stringify(p))).toEqual(JSON.parse(JSON.stringify(t)));
    }),
    { numRuns: 2000 },
  );
});

it('does not make a member optional elsewhere by making it optional here', () => {
  const text = Plain.String();
  expect(Plain.Object({ a: Plain.Optional(text), b: text })).toMatchObject({ required: ['b'] });
});
