import { createPublicKey } from 'node:crypto';
import { Server as HttpsServer } from 'node:https';
import { createApp, Streams } from '@kallio/protocol/serve';
import { LogWriter, logOrigin } from '@kallio/tlog';
import { type FastifyInstance, LogController } from 'fastify';
import { listenAddress, urlOf } from './address.ts';
import { Arithmetic } from './attestation/arithmetic.ts';
import { SteadyCommits } from './attestation/steady-commits.ts';
import type { ServerContext } from './context.ts';
import { Deliverer } from './events/deliver.ts';
import { watchForStale } from './events/stale-watch.ts';
import { EventStreams } from './events/stream.ts';
import { thinOut, tidy } from './housekeeping.ts';
import { createLogger, logRequests } from './http/logging.ts';
import { addFirstEntry } from './log/first-entry.ts';
import { Witnessing } from './log/witnessing.ts';
import { mountRoles } from './roles.ts';
import { layoutOf } from './setup/layout.ts';
import { loadDataDir } from './setup/load.ts';
import { lockDataDir } from './setup/lock.ts';
import { serverTls } from './setup/transport.ts';
import { openStore } from './store/store.ts';
import type { Clock } from './time.ts';

/** How a server is started. */
export interface StartOptions {
  readonly dataDir: string;
  /** Mounts another role on the same listener. */
  readonly register?: (app: FastifyInstance, context: ServerContext) => Promise<void>;
  /** The time. The system's, unless a test says otherwise. */
  readonly clock?: Clock;
}

/** A server that answers. */
export interface RunningServer {
  readonly url: string;
  /** Ends streams and connections, then lets go of log and store. */
  close(): Promise<void>;
}

const TIDY_MS = 60_000;
const THIN_MS = 1_000;
const TLS_CHECK_MS = 3_600_000;

/**
 * Starts attestation server and log service on a data folder that {@link initServer} made. `SERVER_NOT_INITIALISED`,
 * `SERVER_RUNNING`, `CONFIG_INVALID`, or what store and log refuse to open for.
 */
export async function startServer(options: StartOptions): Promise<RunningServer> {
  const { dataDir, clock = () => new Date() } = options;
  const layout = layoutOf(dataDir);
  const loaded = loadDataDir(layout);
  const { config } = loaded;
  // Undone in reverse order, whether the server closes or never comes up.
  const undo: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    undo.push(lockDataDir(layout.lock));
    const logger = createLogger(config.logLevel);
    const store = openStore(layout.store, (upgrade) =>
      logger.info(upgrade, 'bringing the store to a newer schema: of gigabytes this takes minutes'),
    );
    undo.push(() => store.close());
    const logKey = new Uint8Array(
      createPublicKey(loaded.logKeys.p256).export({ format: 'der', type: 'spki' }),
    );
    const origin = logOrigin(config.log.name, logKey);
    const log = await LogWriter.open(layout.log, { origin, keys: loaded.logKeys, now: clock });
    undo.push(() => log.close());
    await addFirstEntry(log);

    const secureContext = async () => {
      const pem = await serverTls(layout, config.names, clock());
      return {
        cert: pem,
        key: pem,
        ca: loaded.attesterAuthority.certificate,
        minVersion: 'TLSv1.3',
      } as const;
    };
    const witnessing = new Witnessing(log, config.log.witnesses ?? [], logger, clock);
    undo.push(() => witnessing.close());
    // Ended after the app: what is under way is answered.
    const arithmetic = new Arithmetic();
    undo.push(() => arithmetic.close());
    const commits = new SteadyCommits(layout.store);
    undo.push(() => commits.close());
    const app = createApp({
      loggerInstance: logger,
      logController: new LogController({ disableRequestLogging: true }),
      forceCloseConnections: true,
      requestTimeout: 120_000,
      // A certificate is asked for, not demanded: people and first enrolments have none. What is offered is judged by
      // `authenticate`, which answers a bad one with words instead of a broken connection.
      https: { ...(await secureContext()), requestCert: true, rejectUnauthorized: false },
    });
    undo.push(() => app.close());
    logRequests(app, config.logLevel);
    const streams = new Streams();
    undo.push(() => streams.endAll());
    const eventStreams = new EventStreams(store.events);
    undo.push(() => eventStreams.endAll());
    const context = await mountRoles(app, {
      dataDir,
      loaded,
      store,
      log,
      witnessing,
      streams,
      arithmetic,
      commits,
      eventStreams,
      clock,
      logger,
    });
    await options.register?.(app, context);
    await app.listen(listenAddress(config.listen));
    undo.push(watchForStale(store, config, clock, logger));
    const deliverer = new Deliverer(store, clock, logger);
    undo.push(() => deliverer.close());

    const tidying = setInterval(() => {
      try {
        tidy(store, config, clock());
        loaded.resultKeys.refresh();
      } catch (error) {
        logger.error({ err: error }, 'tidying failed');
      }
    }, TIDY_MS);
    const thinning = setInterval(() => {
      try {
        thinOut(store, config, clock());
      } catch (error) {
        logger.error({ err: error }, 'thinning results out failed');
      }
    }, THIN_MS);
    const renewing = setInterval(() => {
      secureContext().then(
        (renewed) => app.server instanceof HttpsServer && app.server.setSecureContext(renewed),
        (error: unknown) => logger.error({ err: error }, 'renewing the TLS certificate failed'),
      );
    }, TLS_CHECK_MS);
    undo.push(() => {
      clearInterval(tidying);
      clearInterval(thinning);
      clearInterval(renewing);
    });
    return { url: urlOf(app, config), close };
  } catch (error) {
    await close();
    throw error;
  }
}
