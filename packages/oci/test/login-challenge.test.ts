import { describe, expect, it } from 'vitest';
import { challengeOf } from '../src/login/challenge.ts';

const basic = { scheme: 'basic' };
const bearer = (realm: string, service?: string) => ({ scheme: 'bearer', realm, service });

describe('what a registry wants to be shown', () => {
  it.each([
    ['Basic realm="images"', basic],
    ['basic', basic],
    ['Basic realm=images, charset="UTF-8"', basic],
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"',
      bearer('https://auth.docker.io/token', 'registry.docker.io'),
    ],
    ['BEARER Realm = "https://a/t" , error="invalid_token"', bearer('https://a/t')],
    [
      'Bearer realm="https://a/t?a=1,2",service="a \\"b\\" \\\\ c"',
      bearer('https://a/t?a=1,2', 'a "b" \\ c'),
    ],
    ['Basic realm="x", Bearer realm="https://a/t",service="s"', bearer('https://a/t', 's')],
    ['Bearer realm="https://a/t",service="s", Basic realm="x"', bearer('https://a/t', 's')],
    ['Negotiate, Basic realm="x"', basic],
    ['Bearer service="s", Basic realm="x"', basic],
  ])('is read: %s', (header, challenge) => {
    expect(challengeOf(header)).toEqual(challenge);
  });

  it.each([
    ['nothing', undefined],
    ['an empty one', ''],
    ['a scheme that is not known here', 'Digest realm="x", nonce="y"'],
    ['a realm said twice', 'Bearer realm="https://a/t",realm="https://b/t"'],
    ['a quotation without an end', 'Bearer realm="https://a/t'],
    ['a parameter of nobody', 'realm="https://a/t"'],
    ['something behind a value', 'Basic realm="x" y'],
    ['a control character', 'Basic realm="x\n"'],
    ['a long one', `Basic realm="${'x'.repeat(9000)}"`],
  ])('is not, where there is %s', (_, header) => {
    expect(challengeOf(header)).toBeUndefined();
  });
});
