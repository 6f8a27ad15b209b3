import { concat, utf8 } from '@kallio/codec';
import { decodeImaEntry, readImaLog, usualDigestStart, usualName } from '@kallio/evidence';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PathClasses } from '../src/index.ts';

// The class of a file decides by which reference values it is judged. Told by the bytes of a name it must be the one that
// its text says, whatever an attester writes there.

const u32le = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

/** An entry of the kernel's list, with this name and the zero that closes it. */
function entryNamed(name: Uint8Array) {
  const digest = concat(utf8('sha256:\0'), new Uint8Array(32).fill(7));
  const data = concat(
    ...[digest, concat(name, new Uint8Array(1))].flatMap((field) => [u32le(field.length), field]),
  );
  const head = concat(u32le(10), new Uint8Array(20).fill(1), u32le(6), utf8('ima-ng'));
  const [entry] = readImaLog(concat(head, u32le(data.length), data));
  if (entry === undefined) throw new Error('one entry');
  return entry;
}

/** The class by the name's text, and by its bytes. */
function both(classes: PathClasses, name: Uint8Array) {
  const entry = entryNamed(name);
  const { start, end } = usualName(entry, usualDigestStart(entry));
  return {
    text: classes.of(decodeImaEntry(entry).name),
    bytes: classes.ofBytes(entry.data, start, end),
  };
}

/** Classes of these paths, each named by its path, and one for the rest. */
function classesOf(paths: readonly string[]): PathClasses {
  const unique = [...new Set(paths)];
  return new PathClasses([...unique.map((path) => ({ name: path, paths: [path] })), { name: 'the rest' }]);
}

describe('the class of a path', () => {
  const step = fc.constantFrom('/', '/', 'a', 'b', 'usr', ' ', '~');
  const path = fc.array(step, { minLength: 1, maxLength: 5 }).map((steps) => `/${steps.join('')}`);
  const piece = fc.oneof(
    { weight: 6, arbitrary: step.map(utf8) },
    // No text; text of two bytes; the end of a name, for a reader of text; and what bytes that are no text are written as.
    {
      weight: 1,
      arbitrary: fc.constantFrom(Uint8Array.of(0xff), Uint8Array.of(0xc3, 0xa4), Uint8Array.of(0)),
    },
    { weight: 1, arbitrary: fc.constantFrom(utf8('\\xff'), utf8('\ufeff')) },
  );

  it('is told by the bytes of a name as by its text', () => {
    const seen = new Set<string | undefined>();
    fc.assert(
      fc.property(fc.array(path, { maxLength: 6 }), fc.array(piece, { maxLength: 8 }), (paths, pieces) => {
        const classes = classesOf(paths);
        expect(classes.readsBytes).toBe(true);
        // One name by chance, and one that begins with each path.
        for (const begin of ['', '/', ...paths]) {
          const { text, bytes } = both(classes, concat(utf8(begin), ...pieces));
          expect(bytes).toBe(text);
          seen.add(text);
        }
      }),
      { numRuns: 2000 },
    );
    expect(seen.size).toBeGreaterThan(100);
  });

  it('of a file is told from that of a file whose name only begins alike, and from its folder’s', () => {
    const classes = classesOf(['/usr/bin/', '/usr/bin/sh', '/usr/']);
    const told = (name: string) => both(classes, utf8(name));
    for (const [name, expected] of [
      ['/usr/bin/sh', '/usr/bin/sh'],
      ['/usr/bin/sh\0 and more', '/usr/bin/sh'],
      ['/usr/bin/sh2', '/usr/bin/'],
      ['/usr/bin/s', '/usr/bin/'],
      ['/usr/bin', '/usr/'],
      ['/usr\0/bin/sh', 'the rest'],
      ['', 'the rest'],
    ] as const) {
      expect(told(name)).toEqual({ text: expected, bytes: expected });
    }
  });

  it('is told by text alone where a path is no plain ASCII, or there are many', () => {
    for (const special of ['/\u00e4/', '/\\xff/', '/\0/', '/\u007f/']) {
      expect(classesOf(['/usr/', special]).readsBytes, JSON.stringify(special)).toBe(false);
    }
    const paths = Array.from({ length: 64 }, (_, i) => `/opt/${i}/`);
    expect(classesOf(paths).readsBytes).toBe(true);
    expect(classesOf([...paths, '/srv/']).readsBytes).toBe(false);
  });
});
