import { routeConfig } from '@kallio/protocol/serve';
import type { FastifyInstance } from 'fastify';
import { type Logger, pino } from 'pino';
import type { ServerConfig } from '../setup/config.ts';

const SECRETS = ['authorization', 'proof', 'joinToken', 'token'];

/** Structured log to standard error, JSON lines. Bodies and headers are not logged; secrets are censored even so. */
export function createLogger(level: ServerConfig['logLevel']): Logger {
  const paths = SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);
  return pino({ level, redact: { paths, censor: '[redacted]' } }, pino.destination(2));
}

/** Lines of requests are gathered up to so many bytes, or so many milliseconds: a write for each would cost more than they. */
const GATHERED_BYTES = 16_000;
const GATHERED_MS = 500;

/**
 * One line a request, at level debug where it went well and comes at each cycle of each attester. The route's pattern, not the address: the ids in it are known only to who asks. What was gathered
 * is written when the server closes; a crash may lose the last half second, of what nothing rests on.
 */
export function logRequests(app: FastifyInstance, level: ServerConfig['logLevel']): void {
  const destination = pino.destination({ dest: 2, minLength: GATHERED_BYTES });
  // Not censored: every field is named here, and to search a line for secrets takes three times as long as to write it.
  const log = pino({ level }, destination);
  const timer = setInterval(() => destination.flush(), GATHERED_MS).unref();
  app.addHook('onClose', (_, done) => {
    clearInterval(timer);
    destination.flushSync();
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    log[routeConfig(request).quiet && reply.statusCode < 400 ? 'debug' : 'info'](
      {
        reqId: request.id,
        method: request.method,
        route: request.routeOptions.url ?? '(none)',
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        from: request.ip,
      },
      'request',
    );
    done();
  });
}
