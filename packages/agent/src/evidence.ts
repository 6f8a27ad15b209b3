import { readFileSync } from 'node:fs';
import { type Digest, fromHex, toBase64, toHex } from '@kallio/codec';
import {
  type Binding,
  type EvidenceMessage,
  type Inventory,
  type Purpose,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
} from '@kallio/evidence';
import type { TpmIdentity } from './identity/identity.ts';
import type { InstanceLog } from './instances/log.ts';

/** What the verifier asked for. */
export interface Question {
  readonly purpose: Purpose;
  readonly nonce: string;
  /** Entries of each log that the verifier has, in which boot. */
  readonly from: { readonly ima: number; readonly instanceLog: number; readonly boot?: number };
  readonly session?: string;
  readonly subject?: Digest;
  readonly statement?: Digest;
  readonly signingKey?: Digest;
  readonly tlsKey?: Digest;
}

/** Where evidence comes from. */
export interface Sources {
  readonly attester: string;
  readonly identity: TpmIdentity;
  readonly instanceLog: InstanceLog;
  readonly inventory: () => Promise<Inventory>;
  /** Does this machine's firmware and kernel measure to this TPM? */
  readonly measured: boolean;
}

const FIRMWARE_LOG = '/sys/kernel/security/tpm0/binary_bios_measurements';
const IMA_LOG = '/sys/kernel/security/ima/binary_runtime_measurements';
const ATTEMPTS = 5;

/**
 * Gathers one evidence message: logs first, then the quote over their digests. Where an entry came into the instance
 * log meanwhile, the quote has moved past what was read: read and quote again.
 */
export async function gatherEvidence(sources: Sources, question: Question): Promise<EvidenceMessage> {
  const { attester, identity, instanceLog } = sources;
  const { resetCount } = await identity.clock();
  const sameBoot = question.from.boot === undefined || question.from.boot === resetCount;
  for (let attempt = 1; ; attempt++) {
    const inventory = await sources.inventory();
    const count = instanceLog.entries.length;
    const from = sameBoot ? Math.min(question.from.instanceLog, count) : 0;
    const parts = {
      ...(sources.measured ? measurements() : {}),
      instanceLog: { from, entries: instanceLog.entries.slice(from, count) },
      inventory,
    };
    const binding: Binding = {
      purpose: question.purpose,
      attester,
      nonce: question.nonce,
      parts: partsOf(parts),
      ...(question.session === undefined ? {} : { session: question.session }),
      ...(question.subject === undefined ? {} : { subject: question.subject }),
      ...(question.statement === undefined ? {} : { statement: question.statement }),
      ...(question.signingKey === undefined ? {} : { signingKey: question.signingKey }),
      ...(question.tlsKey === undefined ? {} : { tlsKey: question.tlsKey }),
    };
    const quote = await identity.quote(QUOTED_PCRS, qualifyingData(binding));
    if (instanceLog.entries.length !== count && attempt < ATTEMPTS) continue;
    return {
      version: 'kallio-evidence-v1',
      purpose: question.purpose,
      attester,
      nonce: toHex(fromHex(question.nonce, 32)),
      quote: { attest: toBase64(quote.attest), signature: toBase64(quote.signature) },
      pcrs: [
        {
          bank: 'sha256',
          values: Object.fromEntries([...quote.values].map(([pcr, value]) => [String(pcr), toHex(value)])),
        },
      ],
      ...parts,
    };
  }
}

/** The kernel's measurement logs, where it has them. */
function measurements(): Pick<EvidenceMessage, 'eventLog' | 'ima'> {
  const eventLog = readLog(FIRMWARE_LOG);
  const ima = readLog(IMA_LOG);
  return {
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima: { from: 0, entries: ima } }),
  };
}

function readLog(path: string): string | undefined {
  try {
    return toBase64(new Uint8Array(readFileSync(path)));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
