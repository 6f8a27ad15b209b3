import type { CallInput, Reply, Route } from '@kallio/protocol';
import { type Authenticate, type CallContext, type ServeOptions, serve } from '@kallio/protocol/serve';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../time.ts';

/** Handles a route; `now` is the one reading of the clock for this request. */
export type TimedHandler<R extends Route> = (
  input: CallInput<R>,
  context: CallContext & { readonly now: Date },
) => Reply<R> | Promise<Reply<R>>;

/** Mounts declared routes on one server, and remembers their declarations for `/openapi.json`. */
export class Mount {
  readonly app: FastifyInstance;
  readonly authenticate: Authenticate;
  readonly clock: Clock;
  readonly #declared: Map<string, Route>;

  constructor(app: FastifyInstance, authenticate: Authenticate, clock: Clock, declared: Map<string, Route>) {
    this.app = app;
    this.authenticate = authenticate;
    this.clock = clock;
    this.#declared = declared;
  }

  route<R extends Route>(declared: R, handler: TimedHandler<R>, options: ServeOptions = {}): void {
    this.#declared.set(`${declared.method} ${declared.path}`, declared);
    serve(
      this.app,
      declared,
      this.authenticate,
      (input, context) => handler(input, { ...context, now: this.clock() }),
      options,
    );
  }
}
