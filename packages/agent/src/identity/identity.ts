import { concat, equalBytes, sha256 } from '@kallio/codec';
import {
  activateCredential,
  certify,
  flushContext,
  HANDLE,
  NO_PASSWORD,
  pcrExtend,
  policySecret,
  quote,
  readPcrs,
  sign,
  startPolicySession,
  Tpm,
} from '@kallio/tpm';
import { ecdsaDer, parseAttest, parsePublic, publicKeyOf } from '@kallio/tpm/structures';
import { type GivenEndorsement, loadEk, readEndorsement } from './endorsement.ts';
import { openKeys } from './keys.ts';

/** TPMS_ATTEST and TPMT_SIGNATURE. */
export interface AttestedBytes {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** One TPM, one attester: everything an agent does with its TPM. */
export interface TpmIdentity {
  /** DER. */
  readonly ekCertificate: Uint8Array;
  readonly intermediates: readonly Uint8Array[];
  /** TPMT_PUBLIC. */
  readonly ekPublic: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly akPublic: Uint8Array;
  readonly akName: Uint8Array;
  readonly signingKey: { readonly public: Uint8Array; readonly spki: Uint8Array };
  activateCredential(credentialBlob: Uint8Array, encryptedSecret: Uint8Array): Promise<Uint8Array>;
  /** Quotes PCRs of the SHA-256 bank, with the values that the quote's digest covers. */
  quote(
    pcrs: readonly number[],
    qualifyingData: Uint8Array,
  ): Promise<AttestedBytes & { readonly values: ReadonlyMap<number, Uint8Array> }>;
  pcrExtend(pcr: number, digest: Uint8Array): Promise<void>;
  pcrRead(pcr: number): Promise<Uint8Array>;
  /**
   * Boot and time as this AK's attestations name them: counts of reset and restart are obfuscated in attestations by
   * keys outside the platform and endorsement hierarchies (TPM 2.0 Part 1, "Attestation"), differently for each key.
   */
  clock(): Promise<{ resetCount: number; restartCount: number; clock: bigint; safe: boolean }>;
  certifySigningKey(qualifyingData: Uint8Array): Promise<AttestedBytes>;
  /** ECDSA over a SHA-256 digest, DER. */
  sign(digest: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** How often a quote is taken again because a PCR moved under it. */
const QUOTE_ATTEMPTS = 20;

/** Opens the TPM at an address and the keys kept in `stateDir`; makes the keys the first time. */
export async function openIdentity(options: {
  readonly tpm: string;
  readonly stateDir: string;
  readonly endorsement?: GivenEndorsement;
}): Promise<TpmIdentity> {
  const tpm = Tpm.open(options.tpm);
  try {
    const endorsement = await readEndorsement(tpm, options.endorsement);
    const { ak, signingKey } = await openKeys(tpm, options.stateDir);
    const spki = publicKeyOf(parsePublic(signingKey.public)).export({ format: 'der', type: 'spki' });
    return {
      ekCertificate: endorsement.certificate,
      intermediates: endorsement.intermediates,
      ekPublic: endorsement.public,
      akPublic: ak.public,
      akName: ak.name,
      signingKey: { public: signingKey.public, spki: new Uint8Array(spki) },

      async activateCredential(credentialBlob, encryptedSecret) {
        const ek = await loadEk(tpm, endorsement.profile);
        try {
          if (endorsement.profile.use === 'password') {
            // High-range templates let the EK be used with its (empty) authorization.
            const key = { handle: ek.handle, authorization: NO_PASSWORD };
            const activate = { handle: ak.handle, authorization: NO_PASSWORD };
            return await activateCredential(tpm, { activate, key, credentialBlob, encryptedSecret });
          }
          // Low-range templates: PolicySecret of the endorsement hierarchy (EK Credential Profile 2.5, annex B.3.3).
          const session = await startPolicySession(tpm);
          try {
            await policySecret(tpm, session, HANDLE.endorsement);
            return await activateCredential(tpm, {
              activate: { handle: ak.handle, authorization: NO_PASSWORD },
              key: { handle: ek.handle, authorization: { kind: 'policy', session } },
              credentialBlob,
              encryptedSecret,
            });
          } finally {
            await flushContext(tpm, session);
          }
        } finally {
          await flushContext(tpm, ek.handle);
        }
      },

      async quote(pcrs, qualifyingData) {
        const select = [{ bank: 'sha256' as const, pcrs }];
        for (let attempt = 1; ; attempt++) {
          const attested = await quote(tpm, ak.handle, qualifyingData, select);
          const values = await readPcrs(tpm, 'sha256', pcrs);
          const parsed = parseAttest(attested.attest);
          const digest = sha256(concat(...[...values].sort(([a], [b]) => a - b).map(([, value]) => value)));
          const still = parsed.type === 'quote' && equalBytes(parsed.digest, digest);
          // After so many attempts the evidence goes out as it is: the verifier says what is wrong with it.
          if (still || attempt === QUOTE_ATTEMPTS) return { ...attested, values };
        }
      },

      pcrExtend: (pcr, digest) => pcrExtend(tpm, pcr, [['sha256', digest]]),

      async pcrRead(pcr) {
        const value = (await readPcrs(tpm, 'sha256', [pcr])).get(pcr);
        return value ?? new Uint8Array(0);
      },

      async clock() {
        const { attest } = await quote(tpm, ak.handle, new Uint8Array(0), []);
        return parseAttest(attest).clockInfo;
      },

      certifySigningKey: (qualifyingData) => certify(tpm, signingKey.handle, ak.handle, qualifyingData),

      sign: async (digest) => ecdsaDer(await sign(tpm, signingKey.handle, digest)),

      async close() {
        await flushContext(tpm, ak.handle).catch(() => undefined);
        await flushContext(tpm, signingKey.handle).catch(() => undefined);
        await tpm.close();
      },
    };
  } catch (error) {
    await tpm.close();
    throw error;
  }
}
