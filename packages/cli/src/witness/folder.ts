import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalBytes, decodeShape, Exact, fromHex, Hex, toHex, utf8 } from '@kallio/codec';
import { COSIGNATURE_KEY, formatVerifierKey, type Seen, type WitnessMemory } from '@kallio/tlog';
import { Type } from 'typebox';
import { readJson, readSecret, replaceFile, secretInto } from '../files.ts';
import { cliError } from '../output/output.ts';

/** Who a witness is. */
export interface WitnessIdentity {
  readonly name: string;
  readonly raw: Uint8Array;
  readonly key: KeyObject;
  /** As C2SP writes it: what logs and their readers are told. */
  readonly verifierKey: string;
}

const NameFile = Exact({ name: Type.String({ pattern: '^[^\\s+]{1,200}$' }) });
const SeenFile = Type.Record(
  Type.String(),
  Exact({ size: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), root: Hex(32) }),
);

/** Makes a witness: a key that stays in this folder, and its name. */
export async function makeWitness(dir: string, name: string): Promise<WitnessIdentity> {
  if (!/^[^\s+]{1,200}$/.test(name)) {
    throw cliError('USAGE', 'A witness is named like an address without its scheme: witness.example.org/1.');
  }
  // Another key would be another witness: whoever counts on this one would be left without.
  if (existsSync(keyFile(dir))) throw cliError('CLI_FILE', `${keyFile(dir)} is there already; it is kept.`);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const { privateKey } = generateKeyPairSync('ed25519');
  await secretInto(
    keyFile(dir),
    async () => privateKey,
    (key) => key.export({ format: 'pem', type: 'pkcs8' }).toString().trimEnd(),
  );
  replaceFile(join(dir, 'witness.json'), canonicalBytes({ name }));
  return identityOf(name, privateKey);
}

/** The witness in a folder. */
export function readWitness(dir: string): WitnessIdentity {
  const { name } = decodeShape(NameFile, readJson(join(dir, 'witness.json')), 'CLI_FILE', 'witness.json');
  return identityOf(name, createPrivateKey(readSecret(keyFile(dir))));
}

function identityOf(name: string, key: KeyObject): WitnessIdentity {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const raw = new Uint8Array(spki.subarray(-32));
  return { name, raw, key, verifierKey: formatVerifierKey(name, COSIGNATURE_KEY, raw) };
}

function keyFile(dir: string): string {
  return join(dir, 'witness-key.pem');
}

/** What a witness has seen of each log, in one file that is replaced whole. */
export function witnessMemory(dir: string): WitnessMemory {
  const file = join(dir, 'seen.json');
  const kept = existsSync(file) ? decodeShape(SeenFile, readJson(file), 'CLI_FILE', 'seen.json') : {};
  const seen = new Map<string, Seen>(
    Object.entries(kept).map(([origin, { size, root }]) => [origin, { size, root: fromHex(root, 32) }]),
  );
  return {
    seen: (origin) => seen.get(origin),
    async keep(origin, { size, root }) {
      const next = new Map(seen).set(origin, { size, root });
      const written = [...next].map(([name, head]) => [name, { size: head.size, root: toHex(head.root) }]);
      // COMMIT POINT: durable before the head is signed.
      replaceFile(file, utf8(JSON.stringify(Object.fromEntries(written))));
      seen.set(origin, { size, root });
    },
  };
}
