import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { decodeShape, fromHex, type Json, toHex } from '@kallio/codec';
import { type SigningApproval, SigningState } from '@kallio/protocol';
import { publicKeyOfPem } from '@kallio/signature';
import { approvalMessage, nameOf, pcrPolicy, signingAuthority } from '@kallio/tpm/structures';
import { cliError } from '../output/output.ts';

/** A new operator's key, ECDSA P-256. */
export function makeAuthority(): { readonly privatePem: string; readonly publicPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  };
}

/** The TPM Name of an operator's public key (PEM), hexadecimal: what an image policy names in `require.signingAuthority`. */
export function authorityName(publicPem: string): string {
  return toHex(nameOf(signingAuthority(publicKeyOfPem(publicPem).spki)));
}

/** The operator's approval of a state. */
export function approve(privatePem: string, state: Json): SigningApproval {
  const key = privateKeyOf(privatePem);
  const { pcrs } = decodeShape(SigningState, state, 'CLI_SIGNING_STATE', 'The signing state');
  // An approval of no PCRs would be one of every state.
  if (Object.keys(pcrs).length === 0) throw cliError('CLI_SIGNING_STATE', 'This state names no PCR.');
  const values = new Map(Object.entries(pcrs).map(([pcr, value]) => [Number(pcr), fromHex(value, 32)]));
  const signature = sign('sha256', approvalMessage(pcrPolicy(values)), { key, dsaEncoding: 'ieee-p1363' });
  return { version: 'kallio-signing-approval-v1', pcrs, signature: signature.toString('hex') };
}

function privateKeyOf(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    // Refuses what no TPM could verify as an approval.
    signingAuthority(new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' })));
    return key;
  } catch {
    // Never the cause: it may tell of the key.
    throw cliError(
      'CLI_FILE',
      'This is no private key of an operator.',
      'kallio policy signing-authority makes one (ECDSA P-256, PEM).',
    );
  }
}
