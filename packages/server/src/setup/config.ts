import { readFileSync } from 'node:fs';
import { decodeShape, Exact, fromUtf8, KallioError, parseJson } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import type { ServerCode } from '../codes.ts';

const seconds = (description: string, fallback: number, minimum: number, maximum: number) =>
  Type.Integer({ description, default: fallback, minimum, maximum });

/**
 * `config.json`. Every setting is there and explained here; `kallio server init` writes the file with the defaults.
 * A setting that is unknown or missing is an error: a misspelt limit must not silently be no limit.
 */
export const ServerConfig = Exact({
  version: Type.Literal('kallio-server-v1'),
  listen: Type.String({
    description:
      'Address and port to listen on, HTTPS only: "0.0.0.0:8443", "[::1]:8443". Port 0 takes a free one.',
    pattern: '^(?:\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9.-]+):[0-9]{1,5}$',
  }),
  publicUrl: Type.Optional(
    Type.String({
      description:
        'Address that others reach this server by, where it is not the first of "names" with the port.',
      pattern: '^https://[^/?#]+$',
    }),
  ),
  names: Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
    description: 'DNS names and IP addresses in the server’s certificate.',
    minItems: 1,
    maxItems: 32,
  }),
  trustDomain: Type.String({
    description: 'SPIFFE trust domain of the attesters’ client certificates.',
    pattern: '^[a-z0-9._-]{1,255}$',
  }),
  issuer: Type.String({
    description: 'Name of this server in the results that it signs ("iss"). Relying parties pin it.',
    minLength: 1,
    maxLength: 256,
  }),
  log: Exact({
    name: Type.String({
      description:
        'Host name of the transparency log in its checkpoints. Never change it: it is part of the log’s identity.',
      pattern: '^[A-Za-z0-9][A-Za-z0-9.-]{0,199}$',
    }),
    witnesses: Type.Optional(
      Type.Array(
        Exact({
          key: Type.String({
            description:
              'The witness’s verifier key (C2SP tlog-cosignature): name, id and key, joined by "+".',
            maxLength: 512,
          }),
          url: Type.String({
            description: 'Where it is asked (C2SP tlog-witness): add-checkpoint is below this address.',
            pattern: '^https?://[^?#]+$',
            maxLength: 1024,
          }),
        }),
        {
          description:
            'Witnesses that are asked to sign the log’s heads, so that nobody can be shown a log of its own. Default: none.',
          maxItems: 64,
        },
      ),
    ),
  }),
  enrolment: Exact({
    ekAllowList: Type.Array(
      Exact({
        ek: Type.String({
          description: 'SHA-256 of the EK’s SubjectPublicKeyInfo (DER).',
          pattern: '^[0-9a-f]{64}$',
        }),
        attester: Type.Optional(AttesterId),
      }),
      {
        description:
          'TPMs that are admitted without token or operator; with "attester", only under that name.',
        maxItems: 100_000,
      },
    ),
    endorsers: Type.Array(
      Exact({
        root: Type.String({
          description:
            'SHA-256 fingerprint of a certificate in ek-roots, lower-case hexadecimal without colons.',
          pattern: '^[0-9a-f]{64}$',
        }),
        kind: Type.Union([Type.Literal('maker'), Type.Literal('hypervisor')], {
          description:
            '"maker": it certifies chips only. "hypervisor": it certifies the virtual TPMs of hypervisors that you believe; every verdict says so.',
        }),
        reason: Type.String({
          description: 'Why it is believed. That of a hypervisor stands in every verdict.',
          minLength: 1,
          maxLength: 256,
        }),
      }),
      {
        description:
          'Roots whose TPMs may reach tier A or B. The TPMs of any other root may be programs on the very machine: tier C.',
        maxItems: 256,
      },
    ),
    challengeSeconds: seconds('How long a TPM has to answer its credential challenge.', 60, 1, 600),
    maxChallenges: Type.Integer({
      description: 'Challenges that may wait for their answer at one time.',
      default: 4096,
      minimum: 1,
    }),
    maxChallengesPerSource: Type.Integer({
      description: 'The same, for one source address.',
      default: 256,
      minimum: 1,
    }),
    maxWaitingPerTpm: Type.Integer({
      description: 'Claims of one TPM that may wait for the operator.',
      default: 4,
      minimum: 1,
    }),
    maxClaimsPerTpmAndDay: Type.Integer({
      description: 'New claims that one TPM may make in a day without a token.',
      default: 32,
      minimum: 1,
    }),
  }),
  attestation: Exact({
    nonceSeconds: seconds('How long a nonce may be used.', 60, 1, 600),
    nextNonceSeconds: seconds(
      'How long the nonce in an answer to evidence may be used for the next evidence: longer than the agents’ interval.',
      180,
      2,
      3600,
    ),
    certificateSeconds: seconds('Lifetime of an attester’s client certificate.', 600, 30, 86_400),
    resultSeconds: seconds('Lifetime of a signed result.', 600, 10, 86_400),
    staleSeconds: seconds(
      'Age of its last evidence at which an attester is STALE, by the server’s clock.',
      600,
      1,
      30 * 86_400,
    ),
    sessionResultSeconds: seconds(
      'Lifetime of the result of a closed session: the image must be signed and logged within it.',
      3600,
      60,
      86_400,
    ),
    maxEvidenceBytes: Type.Integer({
      description: 'Largest evidence message, as JSON.',
      default: 32 * 1024 * 1024,
      minimum: 64 * 1024,
      maximum: 64 * 1024 * 1024,
    }),
  }),
  sessions: Exact({
    windowSeconds: seconds(
      'How long a build may take between its two pieces of evidence.',
      7200,
      1,
      7 * 86_400,
    ),
    maxUnderWay: Type.Integer({
      description: 'Sessions of one build host that may be under way.',
      default: 16,
      minimum: 1,
      maximum: 1024,
    }),
  }),
  retention: Exact({
    days: Type.Integer({
      description: 'Days to keep evidence and results that no session rests on.',
      default: 30,
      minimum: 1,
      maximum: 3650,
    }),
    steadyHours: Type.Integer({
      description: 'Hours to keep every result that says nothing new; then one an hour stays.',
      default: 24,
      minimum: 1,
      maximum: 3650 * 24,
    }),
  }),
  logLevel: Type.Union(
    [
      Type.Literal('debug'),
      Type.Literal('info'),
      Type.Literal('warn'),
      Type.Literal('error'),
      Type.Literal('silent'),
    ],
    { description: 'What goes to standard error, as JSON lines.', default: 'info' },
  ),
});
export type ServerConfig = Static<typeof ServerConfig>;

/** What an operator must decide; the rest has defaults. */
export type ConfigDecisions = Pick<
  ServerConfig,
  'listen' | 'publicUrl' | 'names' | 'trustDomain' | 'issuer' | 'log'
>;

/** A whole configuration from the decisions only an operator can make. */
export function defaultConfig(decisions: ConfigDecisions): ServerConfig {
  const config = Value.Default(ServerConfig, {
    version: 'kallio-server-v1',
    ...decisions,
    enrolment: { ekAllowList: [], endorsers: [] },
    attestation: {},
    sessions: {},
    retention: {},
  });
  return decodeShape(ServerConfig, config, 'CONFIG_INVALID' satisfies ServerCode, 'The configuration');
}

/**
 * Reads `config.json`; `CONFIG_INVALID` with a pointer to what is wrong in it. A setting with a default may be missing: a
 * newer server has more of them.
 */
export function readConfig(path: string): ServerConfig {
  return readJsonFile(path, ServerConfig, (given) => Value.Default(ServerConfig, given));
}

/** Reads a JSON file of a schema; anything wrong with it is `CONFIG_INVALID`, naming the file. */
export function readJsonFile<S extends Parameters<typeof decodeShape>[0]>(
  path: string,
  schema: S,
  complete: (given: unknown) => unknown = (given) => given,
): Static<S> {
  try {
    const given = parseJson(fromUtf8(readFileSync(path)), { maxBytes: 64 * 1024 * 1024 });
    return decodeShape(schema, complete(given));
  } catch (cause) {
    const pointer = cause instanceof KallioError ? cause.pointer : undefined;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KallioError('CONFIG_INVALID' satisfies ServerCode, `${path} can’t be used: ${why}`, {
      pointer,
      cause,
    });
  }
}
