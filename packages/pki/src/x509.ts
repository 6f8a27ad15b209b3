import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/*
 * The one place where the X.509 library is loaded: it needs reflect-metadata first and a WebCrypto to work with. It
 * parses and issues; what a certificate is worth is decided in this package.
 */
x509.cryptoProvider.set(webcrypto as typeof globalThis.crypto);

export { x509 };
