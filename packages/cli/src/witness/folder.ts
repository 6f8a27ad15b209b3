import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalBytes, decodeShape, Exact } from '@kallio/codec';
import { beginWitnessMemory, COSIGNATURE_KEY, formatVerifierKey } from '@kallio/tlog';
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

/** Makes a witness: a key that stays in this folder, and its name. */
export async function makeWitness(dir: string, name: string): Promise<WitnessIdentity> {
  if (!/^[^\s+]{1,200}$/.test(name)) {
    throw cliError('USAGE', 'A witness is named like an address without its scheme: witness.example.org/1.');
  }
  // Another key would be another witness: whoever counts on this one would be left without.
  if (existsSync(keyFile(dir))) throw cliError('CLI_FILE', `${keyFile(dir)} is there already; it is kept.`);
  await beginWitnessMemory(dir);
  replaceFile(join(dir, 'witness.json'), canonicalBytes({ name }));
  const { privateKey } = generateKeyPairSync('ed25519');
  await secretInto(
    keyFile(dir),
    async () => privateKey,
    (key) => key.export({ format: 'pem', type: 'pkcs8' }).toString().trimEnd(),
  );
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
