import { chmod, mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseDigest } from '@kallio/codec';
import {
  agentAttest,
  agentRotateSigningKey,
  agentSessionAbandon,
  agentSessionAttest,
  agentSessionClose,
  agentSessionOpen,
  agentSigningState,
  agentStatus,
  type EvidenceReply,
  type Reply,
  shimAsk,
} from '@kallio/protocol';
import { createApp, type Principal, serve } from '@kallio/protocol/serve';
import type { FastifyInstance } from 'fastify';
import type { BuildSessions } from './build.ts';
import { agentError } from './error.ts';
import type { Gate } from './instances/gate.ts';

/** What the socket's routes call. */
export interface SocketParts {
  readonly status: () => Reply<typeof agentStatus>;
  readonly attest: () => Promise<EvidenceReply>;
  readonly builds: BuildSessions | undefined;
  readonly gate: Gate | undefined;
}

const MAX_DOCUMENT = 1024 * 1024;

/** Answers on the agent's UNIX socket. Who may open it is root: its folder and the socket itself say so. */
export async function listen(path: string, parts: SocketParts): Promise<FastifyInstance> {
  const app = createApp({ bodyLimit: 4 * 1024 * 1024 });
  const anyone = (): Principal => ({ kind: 'anonymous' });
  serve(app, agentStatus, anyone, parts.status);
  serve(app, agentAttest, anyone, async () => {
    const { platform, result } = await parts.attest();
    return { state: platform.state, result: parseDigest(result) };
  });
  const builds = () => {
    if (parts.builds !== undefined) return parts.builds;
    throw agentError('AGENT_KIND', 'This agent is a device’s: images are built on a build host.');
  };
  serve(app, agentSessionOpen, anyone, () => builds().open());
  serve(app, agentSessionAttest, anyone, ({ params }) => builds().attest(params.session));
  serve(app, agentSessionClose, anyone, ({ params, body }) => builds().close(params.session, body.claims));
  serve(app, agentSigningState, anyone, () => builds().signingState());
  serve(app, agentRotateSigningKey, anyone, () => builds().rotateSigningKey());
  serve(app, agentSessionAbandon, anyone, async ({ params }) => {
    await builds().abandon(params.session);
    return {};
  });
  await app.register((shim, _options, done) => {
    // The very bytes are judged and logged: they are not parsed and printed again on the way.
    shim.removeAllContentTypeParsers();
    shim.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MAX_DOCUMENT }, (_request, body, parsed) =>
      parsed(null, body),
    );
    serve(shim, shimAsk, anyone, async ({ params, body }) => {
      if (parts.gate === undefined) {
        throw agentError('AGENT_KIND', 'This agent is a build host’s: nothing is started here.');
      }
      await parts.gate.decide(params.verb, params.container, bytesOf(body));
      return { allowed: true as const };
    });
    done();
  });
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // A socket that a crash left behind; a running agent holds the state folder's lock.
  await rm(path, { force: true });
  await app.listen({ path });
  await chmod(path, 0o600);
  return app;
}

function bytesOf(body: unknown): Uint8Array {
  return body instanceof Uint8Array ? body : new Uint8Array(0);
}
