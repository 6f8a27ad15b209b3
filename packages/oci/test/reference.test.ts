import { describe, expect, it } from 'vitest';
import { parseReference } from '../src/index.ts';

describe('an image reference', () => {
  it.each(['registry.example:5000/team/app:1', '127.0.0.1:5000/app', '[::1]:5000/app:1'])(
    'names a registry: %s',
    (text) => {
      const { registry, repository, tag } = parseReference(text);
      expect(`${registry}/${repository}${tag === undefined ? '' : `:${tag}`}`).toBe(text);
    },
  );

  it.each([
    ['no registry', 'team/app:1'],
    ['a port that there is not', 'registry.example:65536/app:1'],
    ['an address of too many parts', '1.2.3.4.5/app:1'],
    ['an address with a part too large', '127.0.0.999/app:1'],
    ['too many colons', '[:::]/app:1'],
    ['a path out of its repository', 'registry.example/../app:1'],
    ['a tag with a path', 'registry.example/app:../1'],
    ['far too many characters', `registry.example/${'a'.repeat(512)}`],
  ])('is refused with %s', (_, text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'OCI_REFERENCE' }));
  });
});
