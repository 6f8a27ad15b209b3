import type { Role, TrustBundle } from '@kallio/protocol';
import type { Authenticate } from '@kallio/protocol/serve';
import type { Logger } from 'pino';
import type { ServerConfig } from './setup/config.ts';
import type { Clock } from './time.ts';

/** What a role that is mounted on the same listener is given. */
export interface ServerContext {
  readonly dataDir: string;
  readonly config: ServerConfig;
  /** PEM of the authority that the server's certificate chains to. */
  readonly ca: string;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Tells callers apart as every route of this server does. */
  readonly authenticate: Authenticate;
  /** Where this server answers. Known once it listens: call it then. */
  url(): string;
  /** The public keys of results and log. Known once it listens, as {@link ServerContext.url}. */
  trust(): TrustBundle;
  /** A bearer token for a program in this process; it ends with the next start. */
  serviceToken(name: string, role: Role): string;
  /** Names a role in `/v1/status`. */
  addRole(name: string): void;
}
