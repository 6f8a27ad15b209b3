import { Reader, sameBytes } from '@kallio/codec';
import {
  marshalPublic,
  marshalSignature,
  nameOf,
  parseAttest,
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
