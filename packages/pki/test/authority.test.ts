import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseCertificate } from '../src/certificate.ts';
import { basicConstraints, extendedKeyUsages, maySignCertificates } from '../src/extensions.ts';
import {
  attesterOf,
  createAuthority,
  issueAttesterCertificate,
  issueServerCertificate,
  type KeyedCertificate,
  parsePemCertificates,
} from '../src/index.ts';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const DAY = 86_400_000;
const now = new Date();
now.setMilliseconds(0);

let authority: KeyedCertificate;
let other: KeyedCertificate;

beforeAll(async () => {
  authority = await createAuthority('Kallio attester authority test', now, 10);
  other = await createAuthority('Kallio attester authority test', now, 10);
});

/** As other programs see it, and as this package does. */
function readPem(pem: string) {
  const [der = new Uint8Array(0)] = parsePemCertificates(pem);
  return { node: new X509Certificate(pem), own: parseCertificate(der), der };
}

const keyPair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spkiOf = (key: ReturnType<typeof keyPair>['publicKey']) =>
  new Uint8Array(key.export({ format: 'der', type: 'spki' }));

const forAttester = (seconds = 600, key = keyPair().publicKey) =>
  issueAttesterCertificate(authority, {
    spki: spkiOf(key),
    trustDomain: 'edge.example',
    attester: 'be-1',
    now,
    seconds,
  });

describe('an authority', () => {
  test('signs itself, may sign end certificates and nothing above them', () => {
    const { node, own } = readPem(authority.certificate);
    expect(node.ca).toBe(true);
    expect(node.verify(node.publicKey)).toBe(true);
    expect(node.subject).toBe('CN=Kallio attester authority test');
    expect(basicConstraints(own)).toEqual({ ca: true, pathLength: 0 });
    expect(maySignCertificates(own)).toBe(true);
    expect(own.extensions.get('2.5.29.19')?.critical).toBe(true);
    expect(own.extensions.get('2.5.29.15')?.critical).toBe(true);
  });

  test('lasts as long as it was told, from a little before it was made', () => {
    const { own } = readPem(authority.certificate);
    expect(own.notAfter.getTime()).toBe(now.getTime() + 10 * DAY);
    expect(own.notBefore.getTime()).toBe(now.getTime() - 5 * 60_000);
  });

  test('has the private key of its certificate, P-256, and never another’s', () => {
    const key = createPrivateKey(authority.key);
    expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(createPublicKey(key).equals(readPem(authority.certificate).node.publicKey)).toBe(true);
    expect(other.key).not.toBe(authority.key);
    expect(readPem(other.certificate).node.serialNumber).not.toBe(
      readPem(authority.certificate).node.serialNumber,
    );
  });
});

describe('a server certificate', () => {
  const issueServer = (names: readonly string[], by = authority) =>
    issueServerCertificate(by, { names, now, days: 3 });

  test('is for its names and addresses, and for servers only', async () => {
    const { node, own } = readPem(
      (await issueServer(['kallio.example.org', '192.0.2.7', '2001:db8::7'])).certificate,
    );
    expect(node.checkHost('kallio.example.org')).toBe('kallio.example.org');
    expect(node.checkHost('other.example.org')).toBeUndefined();
    expect(node.checkIP('192.0.2.7')).toBe('192.0.2.7');
    expect(node.checkIP('2001:db8::7')).toBe('2001:db8::7');
    expect(node.checkIP('192.0.2.8')).toBeUndefined();
    expect(extendedKeyUsages(own)).toEqual([SERVER_AUTH]);
    expect(basicConstraints(own)?.ca).toBe(false);
    expect(maySignCertificates(own)).toBe(false);
    expect(own.notAfter.getTime()).toBe(now.getTime() + 3 * DAY);
  });

  test('is signed by its authority, with a key and a serial number of its own', async () => {
    const [one, two] = [await issueServer(['localhost']), await issueServer(['localhost'])];
    const issuer = readPem(authority.certificate).node;
    expect(readPem(one.certificate).node.checkIssued(issuer)).toBe(true);
    expect(readPem(one.certificate).node.verify(issuer.publicKey)).toBe(true);
    expect(readPem(one.certificate).node.verify(readPem(other.certificate).node.publicKey)).toBe(false);
    expect(readPem(one.certificate).node.checkPrivateKey(createPrivateKey(one.key))).toBe(true);
    expect(readPem(one.certificate).node.checkPrivateKey(createPrivateKey(two.key))).toBe(false);
    expect(readPem(one.certificate).node.serialNumber).not.toBe(readPem(two.certificate).node.serialNumber);
  });

  test('names nobody as an attester', async () => {
    const { der } = readPem((await issueServer(['localhost'])).certificate);
    expect(() => attesterOf(der, 'edge.example')).toThrow(expect.objectContaining({ code: 'PKI_SPIFFE_ID' }));
  });
});

describe('an attester’s certificate', () => {
  test('is for the key that was shown, and names the attester', async () => {
    const { publicKey } = keyPair();
    const { node, own, der } = readPem(await forAttester(600, publicKey));
    expect(node.publicKey.equals(publicKey)).toBe(true);
    expect(node.subjectAltName).toBe('URI:spiffe://edge.example/attester/be-1');
    expect(attesterOf(der, 'edge.example')).toBe('be-1');
    expect(extendedKeyUsages(own)).toEqual([CLIENT_AUTH]);
    expect(basicConstraints(own)?.ca).toBe(false);
    expect(maySignCertificates(own)).toBe(false);
    expect(node.verify(readPem(authority.certificate).node.publicKey)).toBe(true);
  });

  test('is not issued for a name that could be read as another', async () => {
    const subject = { spki: spkiOf(keyPair().publicKey), trustDomain: 'edge.example', now, seconds: 60 };
    for (const attester of ['be-1/admin', '../server', '', 'BE-1', 'be-1?']) {
      await expect(issueAttesterCertificate(authority, { ...subject, attester }), attester).rejects.toThrow(
        expect.objectContaining({ code: 'PKI_SPIFFE_ID' }),
      );
    }
    await issueAttesterCertificate(authority, { ...subject, attester: 'be-1' });
  });

  test('lasts for seconds, not days', async () => {
    expect(readPem(await forAttester(90)).own.notAfter.getTime()).toBe(now.getTime() + 90_000);
  });

  test('is issued for P-256 keys only', async () => {
    for (const [curve, good] of [
      ['P-256', true],
      ['P-384', false],
    ] as const) {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
      const issued = forAttester(600, publicKey);
      if (good) await issued;
      else await expect(issued).rejects.toThrow(expect.objectContaining({ code: 'PKI_KEY_ALGORITHM' }));
    }
    const garbage = { spki: new Uint8Array(91).fill(0x30), trustDomain: 'edge.example', attester: 'be-1' };
    await expect(issueAttesterCertificate(authority, { ...garbage, now, seconds: 60 })).rejects.toThrow(
      expect.objectContaining({ code: 'PKI_KEY_ALGORITHM' }),
    );
  });
});

describe('TLS 1.3 between them', () => {
  /** Does the server take this client, and what does it see? */
  async function handshake(
    client: { key: string; cert: string } | undefined,
    pinned = authority.certificate,
  ) {
    const { certificate, key } = await issueServerCertificate(authority, {
      names: ['localhost'],
      now,
      days: 1,
    });
    const server = createServer({
      ...{ cert: certificate, key, ca: authority.certificate, minVersion: 'TLSv1.3' as const },
      ...{ requestCert: true, rejectUnauthorized: true },
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = new Promise<string | undefined>((resolve) => {
      server.on('secureConnection', (socket: TLSSocket) => {
        const peer = socket.getPeerX509Certificate();
        resolve(peer === undefined ? undefined : attesterOf(new Uint8Array(peer.raw), 'edge.example'));
        socket.end();
      });
      server.on('tlsClientError', () => resolve(undefined));
    });
    const { port } = server.address() as AddressInfo;
    const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: pinned, ...client });
    socket.on('error', () => {});
    const attester = await accepted;
    socket.destroy();
    server.close();
    return attester;
  }

  async function clientOf(by: KeyedCertificate) {
    const { publicKey, privateKey } = keyPair();
    const subject = {
      spki: spkiOf(publicKey),
      trustDomain: 'edge.example',
      attester: 'be-1',
      now,
      seconds: 600,
    };
    const cert = await issueAttesterCertificate(by, subject);
    return { cert, key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() };
  }

  test('works with certificates of one authority, and not of another with the same name', async () => {
    expect(await handshake(await clientOf(authority))).toBe('be-1');
    expect(await handshake(await clientOf(other))).toBeUndefined();
    expect(await handshake(await clientOf(authority), other.certificate)).toBeUndefined();
    expect(await handshake(undefined)).toBeUndefined();
  });

  test('refuses a server’s certificate from a client', async () => {
    const { certificate: cert, key } = await issueServerCertificate(authority, {
      names: ['be-1'],
      now,
      days: 1,
    });
    expect(await handshake(await clientOf(authority))).toBe('be-1');
    expect(await handshake({ cert, key })).toBeUndefined();
  });
});
