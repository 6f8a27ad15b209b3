import { generateKeyPairSync, type KeyObject, type KeyPairKeyObjectResult } from 'node:crypto';
import { fromUtf8, sameBytes, sha256, utf8 } from '@kallio/codec';
import {
  type Checkpoint,
  COSIGNATURE_KEY,
  c2spOrigin,
  cosign,
  formatTlogProof,
  formatVerifierKey,
  leafHash,
  logOrigin,
  NOTE_KEY,
  nodeHash,
  parseCheckpointText,
  parseNote,
  parseTlogProof,
  parseVerifierKey,
  sameHead,
  signC2spCheckpoint,
  signSigstoreCheckpoint,
  verifierKeyOf,
  verifySigstoreCheckpoint,
  verifyTlogProof,
} from '@kallio/tlog';
import { Taken, type Target } from '../target.ts';

/** When the witness signed, in seconds since 1970. */
const TIME = 1_800_000_000;

/** A log of two entries, with its two keys. */
function log() {
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ed25519 = generateKeyPairSync('ed25519');
  const spki = spkiOf(p256.publicKey);
  const leaves = [leafHash(utf8('first')), leafHash(utf8('second'))] as const;
  const head: Checkpoint = { origin: logOrigin('log.example', spki), size: 2, root: nodeHash(...leaves) };
  return { p256, ed25519, spki, leaves, head };
}

function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ type: 'spki', format: 'der' }));
}

function rawOf(key: KeyObject): Uint8Array {
  return spkiOf(key).slice(-32);
}

/** A signed note. */
export function note(): Target {
  const { p256, spki, head, ed25519 } = log();
  return {
    seeds: [signSigstoreCheckpoint(head, p256.privateKey, spki), c2sp(head, ed25519)].map(utf8),
    take(input) {
      parseCheckpointText(parseNote(fromUtf8(input)).text);
    },
  };
}

function c2sp(head: Checkpoint, { privateKey, publicKey }: KeyPairKeyObjectResult): string {
  return signC2spCheckpoint(head, privateKey, rawOf(publicKey));
}

/** A head that verifies is the one that was signed. */
export function checkpoint(): Target {
  const { p256, spki, head } = log();
  return {
    seeds: [utf8(signSigstoreCheckpoint(head, p256.privateKey, spki))],
    take(input) {
      const read = verifySigstoreCheckpoint(fromUtf8(input), p256.publicKey, spki, head.origin);
      if (!sameHead(read, head)) throw new Taken(`a head of size ${read.size} that nobody signed`);
    },
  };
}

/** A proof that verifies is of the leaf, under the head that log and witness signed. */
export function tlogProof(): Target {
  const { ed25519, head, leaves } = log();
  const witness = generateKeyPairSync('ed25519');
  const name = 'witness.example';
  const raw = rawOf(witness.publicKey);
  const signed = c2sp(head, ed25519);
  const line = cosign(parseNote(signed).text, { name, raw, key: witness.privateKey }, TIME);
  const by = {
    log: verifierKeyOf(c2spOrigin(head.origin), NOTE_KEY, rawOf(ed25519.publicKey)),
    witnesses: [verifierKeyOf(name, COSIGNATURE_KEY, raw)],
  };
  return {
    seeds: [utf8(formatTlogProof({ index: 1, hashes: [leaves[0]], checkpoint: signed + line }))],
    take(input) {
      const read = verifyTlogProof(parseTlogProof(fromUtf8(input)), leaves[1], by);
      if (read.index !== 1 || read.head.size !== 2 || !sameBytes(read.head.root, head.root))
        throw new Taken('another place in the log');
      if (read.cosigned.some(({ time }) => time !== TIME))
        throw new Taken('another time than the witness said');
    },
  };
}

/** A verifier key that is taken is written as it was read. */
export function verifierKey(): Target {
  const raw = sha256(utf8('a key'));
  return {
    seeds: [utf8(formatVerifierKey('log.example/log', NOTE_KEY, raw))],
    take(input) {
      const { name, raw: read } = parseVerifierKey(fromUtf8(input), NOTE_KEY);
      if (formatVerifierKey(name, NOTE_KEY, read) !== fromUtf8(input))
        throw new Taken('a key in another spelling');
    },
  };
}
