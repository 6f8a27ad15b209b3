import { canonicalize, fromUtf8, type Json, parseJson, utf8 } from '@kallio/codec';
import { Taken, type Target } from '../target.ts';

/** JSON that is taken is what the language's own reader takes it for, and nothing that two could read differently. */
export function json(): Target {
  return {
    seeds: [
      '{"a":1,"b":[true,false,null,"\\u00e9\\n"],"c":{"d":-0.5e-7,"e":""}}',
      '[1,2,3]',
      '"x"',
      '1e21',
    ].map(utf8),
    take(input) {
      const read = parseJson(input);
      const other: Json = JSON.parse(fromUtf8(input));
      const written = canonicalize(read);
      if (written !== canonicalize(other)) throw new Taken(`${written} was read`);
      if (canonicalize(parseJson(written)) !== written)
        throw new Taken(`${written} is not what it is read as`);
    },
  };
}
