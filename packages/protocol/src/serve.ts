import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { decodeShape, type Json, KallioError, parseJson, refusal, toBase64Url } from '@kallio/codec';
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import type { Static, TSchema } from 'typebox';
import { Value } from 'typebox/value';
import type { ErrorReply, ProtocolCode } from './common.ts';
import type { Role } from './enrolment.ts';
import type { Access, CallInput, Reply, Route } from './route.ts';

export { Streams } from './streams.ts';

/** An unguessable identifier: 144 bits, URL-safe. None begins with a hyphen: on a command line that would be an option. */
export function newId(): string {
  const id = toBase64Url(randomBytes(18));
  return id.startsWith('-') ? newId() : id;
}

/** Who sent a request, as its transport proves it. */
export type Principal =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'attester'; readonly attester: string }
  | { readonly kind: 'token'; readonly name: string; readonly role: Role };

/** Finds out who sent a request; throws `UNAUTHENTICATED` when a credential is offered and does not hold. */
export type Authenticate = (request: FastifyRequest) => Principal | Promise<Principal>;

/** What a handler gets beside the request's validated parts. */
export interface CallContext {
  readonly principal: Principal;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/**
 * Reads a route's body, as {@link readBody} does. For a route whose caller sends much the same each time, and that knows how
 * to read it in less time; it refuses what {@link readBody} refuses.
 */
export type ReadBody = (bytes: Uint8Array, principal: Principal) => unknown;

/** What is particular to how one route is served. */
export interface ServeOptions {
  /** Longest body, in bytes. */
  readonly bodyLimit?: number;
  /** Status of a reply; 200 if not given. */
  readonly status?: number;
  readonly read?: ReadBody;
  /** That a call went well is not worth a line of the log: it comes often, and what came of it is kept. */
  readonly quiet?: boolean;
}

/** Handles one route: validated input in, reply out. */
export type Handler<R extends Route> = (
  input: CallInput<R>,
  context: CallContext,
) => Reply<R> | Promise<Reply<R>>;

/** HTTP status for codes that mean the same on every route; any other refusal of a well-formed request is 422. */
const STATUS = new Map<string, number>([
  ['REQUEST_INVALID', 400],
  ['REQUEST_TOO_LARGE', 413],
  ['NOT_FOUND', 404],
  ['UNAUTHENTICATED', 401],
  ['FORBIDDEN', 403],
  ['CONFLICT', 409],
  ['RATE_LIMITED', 429],
  ['SERVER_BUSY', 503],
  ['INTERNAL', 500],
  // The server's own trouble, by whichever name it has there: nothing is wrong with the request.
  ['STORE_CORRUPT', 500],
  ['LOG_CORRUPT', 500],
  ['LOG_WRITE_FAILED', 503],
  ['LOG_STOPPED', 503],
  ['LOG_CLOSED', 503],
]);

/** When to come again to a server that has no time, or trouble of its own. */
const RETRY_AFTER_SECONDS = 5;

const RANK: Readonly<Record<Role, number>> = { viewer: 0, operator: 1, admin: 2 };

/**
 * A fastify instance that speaks Kallio's conventions: strict JSON (no duplicate keys), no coercion, unknown fields
 * refused, every failure as {@link ErrorReply} with a code, never a stack.
 */
export function createApp(options: FastifyServerOptions & { readonly https?: object } = {}): FastifyInstance {
  const app = Fastify({
    bodyLimit: 4 * 1024 * 1024,
    // What never reaches a route (an address that doesn't decode) is refused in the same form.
    frameworkErrors: (error, _request, reply) => refuse(error, reply as unknown as FastifyReply),
    clientErrorHandler: refuseNonsense,
    ...options,
  }) as unknown as FastifyInstance;
  app.setValidatorCompiler<TSchema>(({ schema, httpPart }) => (value: unknown) => {
    try {
      // Paths and queries are text: "7" may stand for 7 there. A body says what it means.
      const given = httpPart === 'body' ? value : Value.Convert(schema, value);
      return { value: decodeShape(schema, given, 'REQUEST_INVALID', 'This request') };
    } catch (error) {
      return { error: asError(error) };
    }
  });
  // One logger for all requests: to make one for each takes longer than what most of them log.
  app.setChildLoggerFactory((logger) => logger);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      const bytes = typeof body === 'string' ? Buffer.from(body) : body;
      done(null, routeConfig(request).takesBytes ? bytes : jsonOf(bytes));
    } catch (error) {
      done(asError(error));
    }
  });
  app.setNotFoundHandler((request, reply) =>
    reply
      .code(404)
      .send(errorReply('NOT_FOUND', `There is nothing at ${request.method} ${request.url.slice(0, 256)}.`)),
  );
  app.setErrorHandler((error, request, reply) => {
    if (describe(error).status >= 500) request.log.error({ reqId: request.id, err: error }, 'request failed');
    return refuse(error, reply);
  });
  return app;
}

/** What is said of a route to those who see its requests. */
export interface RouteConfig {
  /** It reads its body itself. */
  readonly takesBytes: boolean;
  readonly quiet: boolean;
}

/** What was said of a request’s route; nothing where there is none. */
export function routeConfig({ routeOptions }: FastifyRequest): Partial<RouteConfig> {
  return routeOptions.config as Partial<RouteConfig>;
}

function jsonOf(bytes: Uint8Array): Json | undefined {
  return bytes.length === 0 ? undefined : parseJson(bytes, { maxBytes: bytes.length, maxDepth: 64 });
}

/** A body of this shape from its bytes; `REQUEST_INVALID`, or what is wrong with it as JSON. */
export function readBody<S extends TSchema>(schema: S, bytes: Uint8Array): Static<S> {
  return decodeShape(schema, jsonOf(bytes), 'REQUEST_INVALID', 'This request');
}

/** Answers bytes that are no HTTP request, as far as the connection still takes an answer. */
function refuseNonsense(_error: Error, socket: Socket): void {
  if (socket.writable) {
    const body = JSON.stringify(errorReply('REQUEST_INVALID', 'This is no HTTP request.'));
    socket.write(
      `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    );
  }
  socket.destroySoon();
}

function refuse(error: unknown, reply: FastifyReply): FastifyReply {
  const { status, body } = describe(error);
  if (status === 429 || status === 503) reply.header('retry-after', RETRY_AFTER_SECONDS);
  return reply.code(status).send(body);
}

/** Mounts a route: checks access, validates by its schemas, hands the parts to `handler`. */
export function serve<R extends Route>(
  app: FastifyInstance,
  declared: R,
  authenticate: Authenticate,
  handler: Handler<R>,
  options: ServeOptions = {},
): void {
  const { read } = options;
  const callers = new WeakMap<FastifyRequest, Principal>();
  app.route({
    method: declared.method,
    url: declared.path,
    schema: {
      summary: declared.summary,
      ...(declared.params === undefined ? {} : { params: declared.params }),
      ...(declared.query === undefined ? {} : { querystring: declared.query }),
      ...(declared.body === undefined || read !== undefined ? {} : { body: declared.body }),
    },
    config: { takesBytes: read !== undefined, quiet: options.quiet === true } satisfies RouteConfig,
    ...(options.bodyLimit === undefined ? {} : { bodyLimit: options.bodyLimit }),
    // Before the body is read: who may not call makes the server parse nothing.
    // Without a promise, unless finding out who calls needs one.
    onRequest: (request, _reply, done) => {
      const refused = (principal: Principal): Error | undefined => {
        callers.set(request, principal);
        return attempt(() => requireAccess(principal, declared.access));
      };
      let principal: Principal | Promise<Principal>;
      try {
        principal = authenticate(request);
      } catch (error) {
        done(asError(error));
        return;
      }
      if (principal instanceof Promise) principal.then(refused, asError).then(done, done);
      else done(refused(principal));
    },
    handler: async (request, reply) => {
      const principal = callers.get(request);
      if (principal === undefined) throw new Error('a request reached its handler without its check');
      const body = read === undefined ? request.body : read(bytesOf(request.body), principal);
      const input = { params: request.params, query: request.query, body } as CallInput<R>;
      const answer = await handler(input, { principal, request, reply });
      return reply.code(options.status ?? 200).send(answer);
    },
  });
}

/** A body that was left as it came; none where none came. */
function bytesOf(body: unknown): Uint8Array {
  return body instanceof Uint8Array ? body : new Uint8Array();
}

function attempt(work: () => void): Error | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return asError(error);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Throws unless the principal may do what a route with this access does. */
export function requireAccess(principal: Principal, access: readonly Access[]): void {
  if (access.includes('public')) return;
  if (principal.kind === 'attester' && access.includes('attester')) return;
  if (principal.kind === 'token') {
    const rank = RANK[principal.role];
    if (access.some((a) => a !== 'attester' && a !== 'public' && RANK[a] <= rank)) return;
  }
  throw principal.kind === 'anonymous'
    ? new KallioError('UNAUTHENTICATED' satisfies ProtocolCode, 'This needs a credential.', {
        hint: access.includes('attester')
          ? 'Attesters present the client certificate that enrolment gives them.'
          : 'Give a bearer token: --token-file FILE, or the environment variable KALLIO_TOKEN_FILE.',
      })
    : new KallioError('FORBIDDEN' satisfies ProtocolCode, 'This credential does not allow that.');
}

/** The caller, where only an attester can be one. */
export function attesterOf(context: CallContext): string {
  if (context.principal.kind === 'attester') return context.principal.attester;
  throw new KallioError('FORBIDDEN' satisfies ProtocolCode, 'Only an attester may do this, for itself.');
}

function errorReply(code: string, message: string): ErrorReply {
  return { error: refusal(code, message) };
}

function describe(error: unknown): { status: number; body: ErrorReply } {
  if (error instanceof KallioError) {
    const status = STATUS.get(error.code) ?? (/^(JSON|CODEC|SHAPE)_/.test(error.code) ? 400 : 422);
    return { status, body: { error: error.toJSON() } };
  }
  const known = error as { code?: unknown; statusCode?: unknown; message?: unknown };
  if (known.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return { status: 413, body: errorReply('REQUEST_TOO_LARGE', 'This request’s body is too large.') };
  }
  if (typeof known.statusCode === 'number' && known.statusCode >= 400 && known.statusCode < 500) {
    return { status: known.statusCode, body: errorReply('REQUEST_INVALID', String(known.message)) };
  }
  return { status: 500, body: errorReply('INTERNAL', 'The server failed at this; its log says why.') };
}
