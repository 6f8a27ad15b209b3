import { toBase64 } from '@kallio/codec';
import { type Route, statusShow, type TrustBundle, trustShow } from '@kallio/protocol';
import type { Streams } from '@kallio/protocol/serve';
import type { LogWriter } from '@kallio/tlog';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { urlOf } from './address.ts';
import type { Arithmetic } from './attestation/arithmetic.ts';
import { Nonces } from './attestation/nonces.ts';
import { Presence } from './attestation/presence.ts';
import { attestationRoutes } from './attestation/routes.ts';
import type { SteadyCommits } from './attestation/steady-commits.ts';
import { Turns } from './attestation/turns.ts';
import type { Verifier } from './attestation/verifier.ts';
import type { ServerContext } from './context.ts';
import { enrolmentRoutes } from './enrolment/routes.ts';
import { eventRoutes } from './events/routes.ts';
import type { EventStreams } from './events/stream.ts';
import { authenticator } from './http/authenticate.ts';
import { Mount } from './http/mount.ts';
import { publishOpenApi } from './http/openapi.ts';
import { tokenRoutes } from './http/token-routes.ts';
import { ImageLookup } from './images/references.ts';
import { imageRoutes } from './images/routes.ts';
import { logRoutes } from './log/routes.ts';
import type { Witnessing } from './log/witnessing.ts';
import { Policies } from './policies/policies.ts';
import { policyRoutes } from './policies/routes.ts';
import { Recent } from './recent.ts';
import { hashToken, newToken } from './secrets.ts';
import { sessionRoutes } from './sessions/routes.ts';
import { layoutOf } from './setup/layout.ts';
import type { Loaded } from './setup/load.ts';
import type { Store } from './store/store.ts';
import type { Clock } from './time.ts';
import { VERSION } from './version.ts';

/** What the routes of a server stand on. */
export interface Foundations {
  readonly dataDir: string;
  readonly loaded: Loaded;
  readonly store: Store;
  readonly log: LogWriter;
  readonly witnessing: Witnessing;
  readonly streams: Streams;
  readonly arithmetic: Arithmetic;
  readonly commits: SteadyCommits;
  readonly eventStreams: EventStreams;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Mounts attestation server and log service; answers with what a further role needs to be mounted beside them. */
export async function mountRoles(app: FastifyInstance, on: Foundations): Promise<ServerContext> {
  const { loaded, store, log, streams, clock, logger } = on;
  const { config } = loaded;
  const declared = new Map<string, Route>();
  await publishOpenApi(app, declared);
  const authenticate = authenticator({ store, trustDomain: config.trustDomain, clock });
  const mount = new Mount(app, authenticate, clock, declared);
  const policies = new Policies(layoutOf(on.dataDir), log, loaded);
  const verifier: Verifier = {
    store,
    config,
    policies,
    ...(loaded.signingAuthority === undefined ? {} : { signingAuthority: loaded.signingAuthority }),
    images: new ImageLookup(store),
    keys: loaded.resultKeys,
    nonces: new Nonces(store, config.attestation.nonceSeconds),
    turns: new Turns(),
    presence: new Presence(streams),
    arithmetic: on.arithmetic,
    commits: on.commits,
    aks: new Recent(16_384),
  };
  const trust = (): TrustBundle => ({
    issuer: config.issuer,
    jwks: { keys: [...loaded.resultKeys.jwks.keys] },
    log: {
      origin: log.head.origin,
      publicKey: toBase64(log.publicKey),
      verifierKey: log.verifierKey,
      witnesses: (config.log.witnesses ?? []).map(({ key }) => key),
      baseUrl: `${urlOf(app, config)}/v1/log`,
    },
  });
  const roles = ['attestation-server', 'log'];
  mount.route(statusShow, (_, { now }) => ({
    name: 'kallio' as const,
    version: VERSION,
    roles,
    time: now.toISOString(),
  }));
  mount.route(trustShow, trust);
  // Where every verifier of JWTs looks.
  app.get(
    '/.well-known/jwks.json',
    { schema: { summary: 'Public keys of results, as a plain JWKS' } },
    () => ({
      keys: loaded.resultKeys.jwks.keys,
    }),
  );
  enrolmentRoutes(mount, { store, config, ekRoots: loaded.ekRoots }, verifier, streams);
  attestationRoutes(mount, { verifier, authority: loaded.attesterAuthority }, streams);
  policyRoutes(mount, policies);
  sessionRoutes(mount, verifier);
  imageRoutes(mount, store);
  logRoutes(mount, store, log, on.witnessing);
  tokenRoutes(mount, store);
  eventRoutes(mount, store, on.eventStreams);

  return {
    dataDir: on.dataDir,
    config,
    ca: loaded.ca,
    logger,
    clock,
    authenticate,
    url: () => urlOf(app, config),
    trust,
    serviceToken: (name, role) => serviceToken(store, name, role, clock().getTime()),
    addRole: (name) => void roles.push(name),
  };
}

/** A program's token in this process: a new one ends the old, so a copy that leaked dies with the next start. */
function serviceToken(
  store: Store,
  name: string,
  role: 'viewer' | 'operator' | 'admin',
  now: number,
): string {
  const token = newToken('token');
  const holder = { name: `service-${name}`, role };
  store.transaction(() => {
    store.tokens.drop(holder.name, now);
    store.tokens.insert(hashToken(token), holder, now + 366 * 86_400_000, 'server', now);
  });
  return token;
}
