import { join } from 'node:path';
import type { Client } from '@kallio/protocol';
import { type Authenticate, Streams } from '@kallio/protocol/serve';
import type { ImagePolicy } from '@kallio/signature';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { deviceRoutes } from './devices/routes.ts';
import { Lifecycle } from './lifecycle/lifecycle.ts';
import { lifecycleRoutes } from './lifecycle/routes.ts';
import { Verifier } from './lifecycle/verifier.ts';
import { Onboarding } from './packages/onboarding.ts';
import { packageRoutes } from './packages/routes.ts';
import { openStore } from './store/store.ts';

/** What an orchestrator stands on. */
export interface OrchestratorOptions {
  /** Folder of `orchestrator.sqlite`. */
  readonly dataDir: string;
  /** The way to the attestation server, as an operator. */
  readonly verifier: () => Client;
  /** What is demanded of an image before it is onboarded; asked for at every check, so that a change needs no restart. */
  readonly policy: () => ImagePolicy;
  readonly authenticate: Authenticate;
  readonly logger: Logger;
}

/** Mounts the MEC orchestrator's routes on a server that does not listen yet, and takes up what was left undone. */
export async function mountOrchestrator(
  app: FastifyInstance,
  options: OrchestratorOptions,
): Promise<{ close(): Promise<void> }> {
  const { authenticate, policy, logger } = options;
  const store = openStore(join(options.dataDir, 'orchestrator.sqlite'));
  const streams = new Streams();
  const verifier = new Verifier(options.verifier);
  const onboarding = new Onboarding({ store, policy, logger });
  const lifecycle = new Lifecycle({
    store,
    verifier,
    logger,
    connected: (attester) => streams.has(attester),
    tell: (attester, order) => void streams.send(attester, 'order', order),
  });
  packageRoutes(app, authenticate, store, onboarding);
  lifecycleRoutes(app, authenticate, { store, lifecycle, verifier });
  deviceRoutes(app, authenticate, { store, lifecycle, streams });
  app.addHook('onListen', async () => {
    onboarding.resume();
    lifecycle.resume();
  });
  return {
    async close() {
      await lifecycle.close();
      await onboarding.close();
      streams.endAll();
      store.close();
    },
  };
}
