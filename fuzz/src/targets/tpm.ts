import { Reader, sameBytes } from '@kallio/codec';
import {
  marshalContext,
  marshalNvPublic,
  marshalPublic,
  marshalSignature,
  nameOf,
  nvName,
  parseAttest,
  parseContext,
  parseNvPublic,
  parsePublic,
  parseSignature,
  publicKeyOf,
  readSized,
} from '@kallio/tpm/structures';
import { Taken, type Target } from '../target.ts';
import { fixture } from './fixtures.ts';

/** TPMS_ATTEST. */
export function attest(): Target {
  return {
    seeds: [
      'debian12-qemu/q1.msg',
      'debian12-qemu/q3.msg',
      'swtpm-rsa/rsapss.msg',
      'swtpm-rsa/rsassa.msg',
    ].map(fixture),
    take: (input) => parseAttest(input),
  };
}

/** TPMT_PUBLIC: what is taken is written as it was read, so that one key has one name. */
export function publicArea(): Target {
  const files = ['debian12-qemu/ak.pub', 'debian12-qemu/akrsa.pub', 'swtpm-rsa/rsapss.pub'];
  return {
    seeds: files.map((file) => readSized(new Reader(fixture(file)), 1024, 'The public area').slice()),
    take(input) {
      const area = parsePublic(input);
      if (!sameBytes(marshalPublic(area), input))
        throw new Taken('a public area in other bytes than its own');
      nameOf(area);
      publicKeyOf(area);
    },
  };
}

/** TPMT_SIGNATURE: the same. */
export function signature(): Target {
  return {
    seeds: ['debian12-qemu/q1.sig', 'swtpm-rsa/rsapss.sig', 'swtpm-rsa/rsassa.sig'].map(fixture),
    take(input) {
      if (!sameBytes(marshalSignature(parseSignature(input)), input))
        throw new Taken('a signature in other bytes');
    },
  };
}

/** TPMS_CONTEXT: the same. */
export function context(): Target {
  const saved = { sequence: 7n, savedHandle: 0x8000_0000, hierarchy: 0x4000_0001, blob: new Uint8Array(100) };
  return {
    seeds: [marshalContext(saved)],
    take(input) {
      if (!sameBytes(marshalContext(parseContext(input)), input)) throw new Taken('a context in other bytes');
    },
  };
}

/** TPMS_NV_PUBLIC: the same. */
export function nvPublic(): Target {
  const area = {
    index: 0x01c0_0002,
    nameAlg: 'sha256',
    attributes: 0x2000_0001,
    authPolicy: new Uint8Array(32),
    dataSize: 900,
  } as const;
  return {
    seeds: [marshalNvPublic(area)],
    take(input) {
      const read = parseNvPublic(input);
      if (!sameBytes(marshalNvPublic(read), input)) throw new Taken('an NV index in other bytes');
      nvName(read);
    },
  };
}
