import { readFileSync } from 'node:fs';
import { decodeShape, parseJson } from '@kallio/codec';
import { Type } from 'typebox';

/** This package's version. */
export const VERSION = decodeShape(
  Type.Object({ version: Type.String() }),
  parseJson(readFileSync(new URL('../package.json', import.meta.url))),
).version;
