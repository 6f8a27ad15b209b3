import { concat, equalBytes, sha256 } from '@kallio/codec';
import {
  activateCredential,
  certify,
  flushContext,
  getCapability,
  HANDLE,
  NO_PASSWORD,
  pcrExtend,
  policySecret,
  quote,
  readPcrs,
  type Session,
  sign,
  startPolicySession,
  startSession,
  Tpm,
} from '@kallio/tpm';
import {
  type EccPublic,
  ecdsaDer,
  nameOf,
  parseAttest,
  parsePublic,
  publicKeyOf,
  type RsaPublic,
  signingPolicy,
} from '@kallio/tpm/structures';
import { type Governance, withApproval } from './approvals.ts';
import { type Endorsement, type GivenEndorsement, loadEk, readEndorsement } from './endorsement.ts';
import { loadSigningKey, openKeys, replaceSigningKey } from './keys.ts';

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
  /** Values of the SHA-256 bank now. Not quoted: for an operator to look at, not for a verifier. */
  pcrValues(pcrs: readonly number[]): Promise<ReadonlyMap<number, Uint8Array>>;
  /**
   * Boot and time as this AK's attestations name them: counts of reset and restart are obfuscated in attestations by
   * keys outside the platform and endorsement hierarchies (TPM 2.0 Part 1, "Attestation"), differently for each key.
   */
  clock(): Promise<{ resetCount: number; restartCount: number; clock: bigint; safe: boolean }>;
  certifySigningKey(qualifyingData: Uint8Array): Promise<AttestedBytes>;
  /** Throws what {@link sign} would throw now, and signs nothing: the TPM itself is asked where the operator governs the key. */
  requireApproval(): Promise<void>;
  /** ECDSA over a SHA-256 digest, DER. `SIGNING_NOT_APPROVED` where the operator governs the key and it may not sign now. */
  sign(digest: Uint8Array): Promise<Uint8Array>;
  /** Puts a new signing key in the old one's place, which signs nothing more. */
  rotateSigningKey(): Promise<void>;
  close(): Promise<void>;
}

/** How often a quote is taken again because a PCR moved under it. */
const QUOTE_ATTEMPTS = 20;

/** Opens the TPM at an address and the keys kept in `stateDir`; makes the keys the first time. */
export async function openIdentity(options: {
  readonly tpm: string;
  readonly stateDir: string;
  readonly endorsement?: GivenEndorsement;
  /** Under whose approvals the signing key may be used; by default it needs none. */
  readonly governance?: Governance;
}): Promise<TpmIdentity> {
  const tpm = Tpm.open(options.tpm);
  try {
    await flushLeftovers(tpm);
    const endorsement = await readEndorsement(tpm, options.endorsement);
    const { governance } = options;
    const policy = governance === undefined ? undefined : signingPolicy(governance.authority);
    const keys = await openKeys(tpm, options.stateDir, policy);
    const { ak } = keys;
    let { signingKey } = keys;
    // The public area that stands in the certificate: one that was just read could be an interposer's.
    const ekPublic = parsePublic(endorsement.public);
    if (ekPublic.type === 'keyedhash') throw new Error('an EK is an asymmetric key');
    const ekReference = { public: ekPublic, name: nameOf(ekPublic) };
    const session = await guardingSession(tpm, endorsement, ekPublic);
    // Attack: someone on the bus drops an extend of the instance log's PCR, or puts another quote in the answer's place.
    const guarded = { authorizations: [{ kind: 'session', session } as const] };
    const pcrsNow = (pcrs: readonly number[]) => readPcrs(tpm, 'sha256', pcrs);
    return {
      ekCertificate: endorsement.certificate,
      intermediates: endorsement.intermediates,
      ekPublic: endorsement.public,
      akPublic: ak.public,
      akName: ak.name,
      get signingKey() {
        const spki = publicKeyOf(parsePublic(signingKey.public)).export({ format: 'der', type: 'spki' });
        return { public: signingKey.public, spki: new Uint8Array(spki) };
      },

      async activateCredential(credentialBlob, encryptedSecret) {
        const ek = { ...(await loadEk(tpm, endorsement.profile)), ...ekReference };
        try {
          // Attack: someone on the bus reads the secret that the answer carries, and proves what this TPM would.
          const session = await startSession(tpm, {
            salt: { handle: ek.handle, public: ekReference.public },
          });
          const sessions = [{ kind: 'session', session, encrypt: 'response', end: true } as const];
          const activate = { ...ak, authorization: NO_PASSWORD };
          if (endorsement.profile.use === 'password') {
            const key = { handle: ek.handle, name: ek.name, authorization: NO_PASSWORD };
            return await activateCredential(tpm, {
              activate,
              key,
              credentialBlob,
              encryptedSecret,
              sessions,
            });
          }
          // Low-range templates: PolicySecret of the endorsement hierarchy (EK Credential Profile 2.5, annex B.3.3).
          const policy = await startPolicySession(tpm);
          try {
            await policySecret(tpm, policy, HANDLE.endorsement);
            const authorization = { kind: 'policy', session: policy } as const;
            const key = { handle: ek.handle, name: ek.name, authorization };
            return await activateCredential(tpm, {
              activate,
              key,
              credentialBlob,
              encryptedSecret,
              sessions,
            });
          } finally {
            await flushContext(tpm, policy);
          }
        } finally {
          await flushContext(tpm, ek.handle);
        }
      },

      async quote(pcrs, qualifyingData) {
        const select = [{ bank: 'sha256' as const, pcrs }];
        for (let attempt = 1; ; attempt++) {
          const attested = await quote(tpm, ak, qualifyingData, select, guarded);
          const values = await readPcrs(tpm, 'sha256', pcrs);
          const parsed = parseAttest(attested.attest);
          const digest = sha256(concat(...[...values].sort(([a], [b]) => a - b).map(([, value]) => value)));
          const still = parsed.type === 'quote' && equalBytes(parsed.digest, digest);
          // After so many attempts the evidence goes out as it is: the verifier says what is wrong with it.
          if (still || attempt === QUOTE_ATTEMPTS) return { ...attested, values };
        }
      },

      pcrExtend: (pcr, digest) => pcrExtend(tpm, pcr, [['sha256', digest]], guarded),

      async pcrRead(pcr) {
        const value = (await readPcrs(tpm, 'sha256', [pcr])).get(pcr);
        return value ?? new Uint8Array(0);
      },

      pcrValues: pcrsNow,

      async clock() {
        const { attest } = await quote(tpm, ak, new Uint8Array(0), [], guarded);
        return parseAttest(attest).clockInfo;
      },

      certifySigningKey: (qualifyingData) => certify(tpm, signingKey, ak, qualifyingData, guarded),

      async requireApproval() {
        if (governance === undefined) return;
        await withApproval(tpm, governance, pcrsNow, () => Promise.resolve());
      },

      async sign(digest) {
        if (governance === undefined) return ecdsaDer(await sign(tpm, signingKey, digest, guarded));
        // Attack: someone on the bus has the key sign another digest while the policy session is good for it.
        const sessions = [{ kind: 'session', session, encrypt: 'command' } as const];
        return withApproval(tpm, governance, pcrsNow, async (approved) => {
          const authorizations = [{ kind: 'policy', session: approved } as const];
          return ecdsaDer(await sign(tpm, signingKey, digest, { authorizations, sessions }));
        });
      },

      async rotateSigningKey() {
        // A TPM has three slots, and to make a key takes two beside the AK's.
        await flushContext(tpm, signingKey.handle);
        try {
          await replaceSigningKey(tpm, options.stateDir, policy);
        } finally {
          // The old one still, where no new one could be made.
          signingKey = await loadSigningKey(tpm, options.stateDir);
        }
      },

      async close() {
        await flushContext(tpm, session.handle).catch(() => undefined);
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

/** First handles of what stays loaded until it is flushed or the TPM is reset: objects, sessions. */
const LOADED = [0x8000_0000, 0x0200_0000] as const;

/**
 * Flushes what an agent that was killed left behind: a TPM has three slots for objects. Behind a resource manager
 * (/dev/tpmrm0) nothing of others is to be seen; the other transports have one user at a time.
 */
async function flushLeftovers(tpm: Tpm): Promise<void> {
  for (const first of LOADED) {
    const { values } = await getCapability(tpm, 'handles', first);
    for (const handle of values) await flushContext(tpm, handle);
  }
}

/** A session salted with the EK: its HMACs cover commands and answers, for as long as the identity is open. */
async function guardingSession(
  tpm: Tpm,
  { profile }: Endorsement,
  ek: RsaPublic | EccPublic,
): Promise<Session> {
  const { handle } = await loadEk(tpm, profile);
  try {
    return await startSession(tpm, { salt: { handle, public: ek } });
  } finally {
    await flushContext(tpm, handle);
  }
}
