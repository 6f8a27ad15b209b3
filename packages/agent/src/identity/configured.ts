import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePemCertificates } from '@kallio/pki';
import { publicKeyOfPem } from '@kallio/signature';
import { signingAuthority } from '@kallio/tpm/structures';
import type { AgentConfig } from '../config.ts';
import { agentError } from '../error.ts';
import type { Governance } from './approvals.ts';
import type { GivenEndorsement } from './endorsement.ts';
import { openIdentity, type TpmIdentity } from './identity.ts';

/** Opens the identity that a configuration names: its TPM, its keys, its EK certificate. */
export function identityOf(
  config: Pick<AgentConfig, 'tpm' | 'stateDir' | 'endorsement' | 'signing'>,
): Promise<TpmIdentity> {
  const { tpm, stateDir, endorsement = {}, signing } = config;
  return openIdentity({
    tpm,
    stateDir,
    endorsement: givenEndorsement(endorsement),
    ...(signing === undefined ? {} : { governance: governanceOf(signing) }),
  });
}

function governanceOf({ authority, approvals }: NonNullable<AgentConfig['signing']>): Governance {
  const pem = read(authority, () => readFileSync(authority, 'utf8'));
  return { authority: signingAuthority(publicKeyOfPem(pem).spki), approvals };
}

/** The EK certificates that a configuration names. A file that can't be read is an error, never a gap. */
function givenEndorsement(files: NonNullable<AgentConfig['endorsement']>): GivenEndorsement {
  const [certificate, ...others] = files.certificate === undefined ? [] : certificatesIn(files.certificate);
  const folder = files.intermediates;
  const inFolder =
    folder === undefined
      ? []
      : read(folder, () => readdirSync(folder).sort()).flatMap((name) => certificatesIn(join(folder, name)));
  return {
    ...(certificate === undefined ? {} : { certificate }),
    // What follows the EK certificate in one file is its chain, by everybody's habit.
    intermediates: [...others, ...inFolder],
  };
}

/** The certificates of a file, DER: one as it is, or as many as stand in PEM. */
function certificatesIn(path: string): Uint8Array[] {
  const bytes = read(path, () => new Uint8Array(readFileSync(path)));
  // A DER certificate begins with the tag of a SEQUENCE; PEM is text.
  return bytes[0] === 0x30 ? [bytes] : [...parsePemCertificates(new TextDecoder().decode(bytes))];
}

function read<T>(path: string, reading: () => T): T {
  try {
    return reading();
  } catch (cause) {
    throw agentError('AGENT_CONFIG', `${path} can’t be read.`, { pointer: '/endorsement', cause });
  }
}
