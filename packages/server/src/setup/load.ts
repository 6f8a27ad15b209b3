import { createPrivateKey } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppraisalPolicy, ReferenceSet } from '@kallio/appraisal';
import { type Digest, KallioError, sha256, toHex } from '@kallio/codec';
import { parsePemCertificates } from '@kallio/pki';
import type { AttesterKind } from '@kallio/protocol';
import { publicKeyOfPem } from '@kallio/signature';
import type { LogKeys } from '@kallio/tlog';
import { type EccPublic, signingAuthority } from '@kallio/tpm/structures';
import type { ServerCode } from '../codes.ts';
import { readConfig, type ServerConfig } from './config.ts';
import type { Layout } from './layout.ts';
import { readPolicyFile } from './policy-file.ts';
import { CurrentResultKeys } from './result-keys.ts';

/** Everything of the data folder that a running server reads once. */
export interface Loaded {
  readonly config: ServerConfig;
  /** The server's own authority, PEM: what others pin. */
  readonly ca: string;
  readonly attesterAuthority: { readonly certificate: string; readonly key: string };
  readonly resultKeys: CurrentResultKeys;
  readonly logKeys: LogKeys;
  /** DER. */
  readonly ekRoots: readonly Uint8Array[];
  readonly policies: ReadonlyMap<AttesterKind, AppraisalPolicy>;
  /** The operator whose approvals every signing key must be under; without one, none needs to be. */
  readonly signingAuthority?: EccPublic;
  /** Every reference set that one of the policies names. */
  readonly sets: ReadonlyMap<Digest, ReferenceSet>;
}

/** Reads a data folder; `SERVER_NOT_INITIALISED`, or `CONFIG_INVALID` naming the file that is wrong. */
export function loadDataDir(layout: Layout): Loaded {
  if (!existsSync(layout.config)) {
    throw new KallioError(
      'SERVER_NOT_INITIALISED' satisfies ServerCode,
      `There is no server in ${layout.root}.`,
      {
        hint: 'Make one with: kallio server init',
      },
    );
  }
  const policies = new Map<AttesterKind, AppraisalPolicy>();
  const sets = new Map<Digest, ReferenceSet>();
  for (const [kind, path] of [
    ['builder', layout.builderPolicy],
    ['device', layout.devicePolicy],
  ] as const) {
    if (!existsSync(path)) continue;
    const file = readPolicyFile(path);
    policies.set(kind, file.policy);
    for (const [digest, set] of file.sets) sets.set(digest, set);
  }
  const authority = existsSync(layout.signingAuthority)
    ? signingAuthority(publicKeyOfPem(read(layout.signingAuthority)).spki)
    : undefined;
  const config = readConfig(layout.config);
  const ekRoots = readdirSync(layout.ekRoots)
    .filter((name) => name.endsWith('.pem'))
    .sort()
    .flatMap((name) => parsePemCertificates(read(join(layout.ekRoots, name))));
  checkEndorsers(config, ekRoots);
  return {
    config,
    ca: read(layout.ca),
    attesterAuthority: {
      certificate: read(layout.attesterAuthority),
      key: read(layout.attesterAuthorityKey),
    },
    resultKeys: new CurrentResultKeys(layout.resultKeys),
    logKeys: {
      p256: createPrivateKey(read(layout.logKey)),
      ed25519: createPrivateKey(read(layout.logWitnessedKey)),
    },
    ekRoots,
    policies,
    ...(authority === undefined ? {} : { signingAuthority: authority }),
    sets,
  };
}

/** A fingerprint that is misspelt, or two that contradict each other, must not silently lower or raise a tier. */
function checkEndorsers({ enrolment }: ServerConfig, ekRoots: readonly Uint8Array[]): void {
  const known = new Set(ekRoots.map((der) => toHex(sha256(der))));
  for (const [i, { root }] of enrolment.endorsers.entries()) {
    const twice = enrolment.endorsers.findIndex((one) => one.root === root) !== i;
    if (known.has(root) && !twice) continue;
    throw new KallioError(
      'CONFIG_INVALID' satisfies ServerCode,
      twice
        ? `The root ${root} is spoken of twice.`
        : `No certificate in ek-roots has the fingerprint ${root}.`,
      {
        pointer: `/enrolment/endorsers/${i}/root`,
        hint: 'Show a fingerprint with: openssl x509 -noout -fingerprint -sha256 -in FILE',
      },
    );
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new KallioError('CONFIG_INVALID' satisfies ServerCode, `${path} can’t be read.`, {
      hint: 'Restore the data folder from a backup.',
      cause,
    });
  }
}
