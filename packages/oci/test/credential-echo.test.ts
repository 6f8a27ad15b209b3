import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { digestOf, KallioError, printable, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { MEDIA, parseManifest, Repository } from '../src/index.ts';
import type { Credentials } from '../src/login/credentials.ts';
import { Shown } from '../src/login/shown.ts';

// Asked directly, whatever this machine asks others by.
vi.stubEnv('NO_PROXY', '*');

/*
 * A registry, or what stands before it, repeats what it was shown of who asks. Nothing of it may be in an error, whatever of
 * the error is printed; and the same words without it are told on as they are.
 */

const PASSWORD = 'Zq7/w"9 +Kf%2&Xv';
const IDENTITY = 'idt.4Wm0_PzRk8sVb2Lx6Ny3';
const TOKEN = `eyJhbGciOiJFUzI1NiJ9.${'Qm9Yx2Ttk7Lw'.repeat(30)}.Hs5-Gd1_Uc3`;
const builder: Credentials = { username: 'builder', password: PASSWORD };
const BASIC = Buffer.from(`builder:${PASSWORD}`).toString('base64');
/** What nobody was shown, and looks the same. */
const OTHERS = new Map([
  [PASSWORD, 'T_j3?n H1;d\\8Bc'],
  [IDENTITY, 'uvw-9Gc5.TyQj1aDf7Hk2Ou8'],
  [TOKEN, 'fzKpdHfKjKqGWzJ2OiK0.Pn2Bv6Ryi4Mz.Jr8-Fe7_Wa9'],
  [BASIC, 'Ns5oKw1nYrtUX2ozP24gSDE7ZFw4QmM='],
]);
const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
const subject = digestOf(utf8('an image'));

let server: Server;
let host: string;
let challenge: string;
/** What is answered to who has shown what was asked for. */
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    if (request.url?.startsWith('/token')) return response.end(JSON.stringify({ token: TOKEN }));
    if (request.headers.authorization === undefined)
      return response.writeHead(401, { 'www-authenticate': challenge }).end();
    return answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
beforeEach(() => {
  challenge = 'Basic realm="images"';
});

const app = (credentials: Credentials = builder) =>
  new Repository({ registry: host, repository: 'app', credentials: async () => credentials });
const bearer = () => `Bearer realm="http://${host}/token",service="images"`;
const says = (status: number, ...errors: object[]) => {
  answer = (_, response) => response.writeHead(status).end(JSON.stringify({ errors }));
};

/** What an error tells a person, of which nothing that is printed holds a part of what was shown. */
async function told(done: Promise<unknown>): Promise<string> {
  const error: unknown = await done.then(
    () => expect.fail('nothing went wrong'),
    (why: unknown) => why,
  );
  const printed = plain(inspect(error, { depth: 9, showHidden: true, maxStringLength: null }));
  for (const secret of OTHERS.keys()) {
    for (let at = 0; at + 8 <= plain(secret).length; at++)
      expect(printed).not.toContain(plain(secret).slice(at, at + 8));
  }
  return error instanceof KallioError ? `${error.code}: ${error.message}` : '';
}
const plain = (text: string) => text.toLowerCase().replaceAll(/[\s\u200b]/g, '');

type Repeated = [how: string, secret: string, words: (secret: string) => string];
const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Whole, so that it can be cut out. */
const CUT_OUT: Repeated[] = [
  ['the header', BASIC, (secret) => `bad header: Basic ${secret}`],
  ['the header twice', BASIC, (secret) => `${secret} is not ${secret}`],
  ['the header in a URL', BASIC, (secret) => `GET /?auth=${encodeURIComponent(secret)}&x=1`],
  ['the header in base64url', BASIC, (secret) => `bad ${secret.replaceAll('/', '_').replaceAll('+', '-')}!`],
  ['the password', PASSWORD, (secret) => `wrong password "${secret}"`],
  ['the password in a URL', PASSWORD, (secret) => `GET /?p=${encodeURIComponent(secret)}`],
  [
    'the password in a form',
    PASSWORD,
    (secret) => `p=${new URLSearchParams([['', secret]]).toString().slice(1)}`,
  ],
  ['the password in JSON', PASSWORD, (secret) => `got {"p":${JSON.stringify(secret)}}`],
  ['the password in base64', PASSWORD, (secret) => `bad token ${base64(secret)}`],
  ['the token', TOKEN, (secret) => `bad token ${secret}`],
  ['the token in base64', TOKEN, (secret) => `bad header ${base64(`Bearer ${secret}`)}`],
  ['the token behind many words', TOKEN, (secret) => `${'- '.repeat(92)}${secret}`],
  ['an identity token', IDENTITY, (secret) => `no such ${secret}`],
];
/** In part, or in disguise: there is no telling where it ends. */
const LEFT_OUT: Repeated[] = [
  ['the header’s end', BASIC, (secret) => `bad header: …${secret.slice(-9)}`],
  ['the password’s beginning', PASSWORD, (secret) => `wrong password ${secret.slice(0, 5)}…`],
  ['the token cut short', TOKEN, (secret) => `bad token ${secret.slice(0, 40)}…`],
  ['the token’s middle', TOKEN, (secret) => `bad token …${secret.slice(15, 25)}…`],
  ['the token in small letters', TOKEN, (secret) => `bad token ${secret.toLowerCase()}`],
  ['the token in several lines', TOKEN, (secret) => secret.replaceAll(/(.{5})/g, '$1\n')],
  ['the password spaced out', PASSWORD, (secret) => [...secret].join('\u200b')],
  ['the header in a URL of small letters', BASIC, (secret) => encodeURIComponent(secret).toLowerCase()],
  ['the token in base64, cut short', TOKEN, (secret) => base64(`Bearer ${secret}`).slice(20, 60)],
];

describe('a refusal that repeats', () => {
  const refused = (status: number, words: string, secret: string) => {
    const credentials = secret === IDENTITY ? { identityToken: IDENTITY } : builder;
    if (secret === TOKEN || secret === IDENTITY) challenge = bearer();
    says(status, { code: 'DENIED', message: words });
    return told(app(credentials).pushManifest(index, MEDIA.index, 'v1'));
  };
  const other = (secret: string) => OTHERS.get(secret) ?? expect.fail('there is no other');
  /** As it is told on: in one line, and not longer. */
  const whole = (words: string) => printable(words.slice(0, 200));

  it.each(CUT_OUT)('%s is told on without it', async (_, secret, words) => {
    for (const [status, code] of [
      [400, 'OCI_REGISTRY'],
      [403, 'OCI_DENIED'],
    ] as const) {
      const message = await refused(status, words(secret), secret);
      expect(message).toContain(code);
      expect(message).toMatch(/: DENIED \(.*\[credential\]/);
      expect(await refused(status, words(other(secret)), secret)).toContain(
        `: DENIED (${whole(words(other(secret)))}).`,
      );
    }
  });

  it.each(LEFT_OUT)('%s is told on by its code', async (_, secret, words) => {
    const message = await refused(400, words(secret), secret);
    expect(message).toMatch(/: DENIED \(left out: it may repeat a credential\)\.$/);
    expect(await refused(400, words(other(secret)), secret)).toContain(
      `: DENIED (${whole(words(other(secret)))}).`,
    );
  });

  it('a short password leaves no gap that tells which word it was', async () => {
    const short: Credentials = { username: 'builder', password: 'pass' };
    says(403, { code: 'DENIED', message: 'your password is wrong' });
    expect(await told(app(short).manifest('v1'))).toMatch(/\(403\): DENIED \(left out: /);
    expect(await told(app().manifest('v1'))).toMatch(/DENIED \(your password is wrong\)\.$/);
  });

  it('it in a later one, or as a code, is told on without that', async () => {
    const named: Credentials = { username: 'builder', password: 'HUNTER2_OF_THE_HOUSE' };
    says(403, { code: 'DENIED' }, { code: 'HUNTER2_OF_THE_HOUSE' }, { code: 'UNKNOWN', message: 'hunter2' });
    expect(await told(app(named).manifest('v1'))).toMatch(
      /: DENIED, a refusal \(left out: it may repeat a credential\), UNKNOWN \(left out: .*\)\.$/,
    );
    expect(await told(app().manifest('v1'))).toMatch(
      /: DENIED, HUNTER2_OF_THE_HOUSE, UNKNOWN \(hunter2\)\.$/,
    );
    // What the specification names is nobody's word.
    says(403, { code: 'DENIED' });
    expect(await told(app({ username: 'builder', password: 'DENIED' }).manifest('v1'))).toMatch(
      /: DENIED\.$/,
    );
  });

  it('the name of who asks is told on: it is no secret', async () => {
    says(403, { code: 'DENIED', message: 'builder may only read' });
    expect(await told(app().pushManifest(index, MEDIA.index, 'v1'))).toContain('(builder may only read)');
  });
});

describe('a registry that repeats it elsewhere', () => {
  const NAME = 'kq7w9fk2xv4tb8';
  const named: Credentials = { username: 'builder', password: NAME };
  const stranger: Credentials = { username: 'builder', password: 'mz3j1hd8bc5rg6' };

  it('in the address of a list’s next page tells none of it', async () => {
    answer = ({ url }, response) => {
      const next = { link: `<${url?.split('?')[0]}?n=${NAME}>; rel="next"`, 'content-type': MEDIA.index };
      if (url?.includes('?')) response.writeHead(500).end();
      else response.writeHead(200, next).end(index);
    };
    expect(await told(app(named).referrers(subject, 'application/x'))).toMatch(
      new RegExp(`answered 500 when asked to read /referrers/${subject}\\.$`),
    );
  });

  it('as the media type of a manifest is one that gives none', async () => {
    let type = `application/${NAME}`;
    answer = (_, response) => response.writeHead(200, { 'content-type': type }).end(index);
    const parsed = async (credentials: Credentials) => {
      const { bytes, mediaType } = await app(credentials).manifest('v1');
      return parseManifest(bytes, mediaType);
    };
    expect(await told(parsed(named))).toContain('A manifest of type "" is not read');
    expect(await told(parsed(stranger))).toContain(`A manifest of type "application/${NAME}" is not read`);
    type = MEDIA.index;
    const kind: Credentials = { username: 'builder', password: 'application' };
    await expect(parsed(kind)).resolves.toMatchObject({ kind: 'index' });
  });

  it('as the host that it leads to is not named', async () => {
    answer = (_, response) => response.writeHead(307, { location: `https://${NAME}.invalid/` }).end();
    const message = await told(app(named).manifest('v1'));
    expect(message).toContain('OCI_UNREACHABLE');
    expect(message).toContain('leads to another host, which does not answer');
    expect(
      await app(stranger)
        .manifest('v1')
        .catch((error: Error) => error.message),
    ).toContain(`leads to ${NAME}.invalid, which does not answer`);
  });

  it('as the host that makes its tokens is not named', async () => {
    challenge = `Bearer realm="https://${NAME}.invalid/token"`;
    expect(await told(app(named).manifest('v1'))).toContain('The realm, which makes the tokens');
    expect(
      await app(stranger)
        .manifest('v1')
        .catch((error: Error) => error.message),
    ).toContain(`${NAME}.invalid, which makes the tokens`);
  });
});

describe('what was shown', () => {
  it('is not looked for without end: then nothing is told on', () => {
    const shown = new Shown();
    shown.add('Wq8Zr3Kx'.repeat(4000));
    expect(shown.without('manifest invalid')).toBe('manifest invalid');
    shown.add('Lm2Vt6Yc'.repeat(4200));
    expect(shown.without('manifest invalid')).toBeUndefined();
  });

  it('of whatever length, is found in whatever text', () => {
    const letters = 'Wq8Zr3Kx/Lm2+Vt6=Yc9"Bn4 Dp7%Gh5&Js1';
    for (let length = 1; length <= letters.length; length++) {
      const shown = new Shown();
      const secret = letters.slice(0, length);
      shown.add(secret);
      for (const before of ['', '-', '--', '---']) {
        const text = `${before}${secret}${before}`;
        expect(shown.without(text) ?? '').not.toContain(secret);
        expect(shown.isNotIn(text)).toBe(false);
        // Of few characters it may be that none is all its own in base64.
        if (length > 4) expect(shown.isNotIn(base64(text))).toBe(false);
      }
      expect(shown.without('')).toBe('');
      expect(shown.without('_')).toBe('_');
    }
  });
});
