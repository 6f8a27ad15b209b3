import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from '../src/index.ts';

/** One case of transparency-dev/merkle's test data. Hashes are base64, some of them not 32 bytes on purpose. */
interface Case {
  readonly wantErr: boolean;
  readonly proof: readonly string[] | null;
  readonly leafIdx: number;
  readonly treeSize: number;
  readonly leafHash: string;
  readonly root: string;
  readonly size1: number;
  readonly size2: number;
  readonly size: number;
  readonly root1: string;
  readonly root2: string;
  readonly start: number;
  readonly end: number;
}

const vectors = join(import.meta.dirname, '../../../../shared/vectors/merkle/testdata');
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
const hashes = (c: Case) => (c.proof ?? []).map(bytes);

const verifiers = {
  inclusion: (c: Case) =>
    verifyInclusion({
      index: c.leafIdx,
      size: c.treeSize,
      leafHash: bytes(c.leafHash),
      hashes: hashes(c),
      root: bytes(c.root),
    }),
  consistency: (c: Case) =>
    verifyConsistency({
      from: c.size1,
      to: c.size2,
      fromRoot: bytes(c.root1),
      toRoot: bytes(c.root2),
      hashes: hashes(c),
    }),
  subtreeinclusion: (c: Case) =>
    verifySubtreeInclusion({
      index: c.leafIdx,
      start: c.start,
      end: c.end,
      leafHash: bytes(c.leafHash),
      hashes: hashes(c),
      root: bytes(c.root),
    }),
  subtreeconsistency: (c: Case) =>
    verifySubtreeConsistency({
      start: c.start,
      end: c.end,
      size: c.size,
      subtreeHash: bytes(c.root1),
      root: bytes(c.root2),
      hashes: hashes(c),
    }),
};

describe.skipIf(!existsSync(vectors))(
  'proofs of transparency-dev/merkle (skipped where they are absent)',
  () => {
    let seen = 0;
    for (const [kind, verify] of Object.entries(verifiers)) {
      test(`${kind}: each is taken or refused as its author says`, () => {
        for (const file of readdirSync(join(vectors, kind), { recursive: true, encoding: 'utf8' })) {
          if (!file.endsWith('.json')) continue;
          const c: Case = JSON.parse(readFileSync(join(vectors, kind, file), 'utf8'));
          seen++;
          const name = `${kind}/${file}`;
          if (c.wantErr)
            expect(() => verify(c), name).toThrow(
              expect.objectContaining({ code: expect.stringMatching(/^LOG_PROOF_/) }),
            );
          else expect(() => verify(c), name).not.toThrow();
        }
      });
    }

    test('all 518 of them', () => {
      expect(seen).toBe(518);
    });
  },
);
