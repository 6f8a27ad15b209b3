import { toHex } from '@kallio/codec';
import type { Inventory } from '@kallio/evidence';
import type { agentStatus, EvidenceReply, Reply } from '@kallio/protocol';
import type { Logger } from 'pino';
import { BuildSessions } from './build.ts';
import { type AgentConfig, socketOf } from './config.ts';
import { Connection } from './connection.ts';
import { attestContinuously } from './continuous.ts';
import { Device } from './device.ts';
import { enrol, requireAdmitted } from './enrol.ts';
import { readEnrolment, writeEnrolment } from './enrolment-state.ts';
import { removeUnfinished } from './files.ts';
import { isGoingDown } from './going-down.ts';
import { identityOf } from './identity/configured.ts';
import type { TpmIdentity } from './identity/identity.ts';
import { InstanceLog } from './instances/log.ts';
import { measurementsOf } from './measurements/measurements.ts';
import { retrying } from './retry.ts';
import { listen } from './socket.ts';
import { lockState } from './state-lock.ts';

const DEFAULT_INTERVAL_SECONDS = 60;
/** A builder starts no instances: there is nothing to look for. */
const NO_INVENTORY: Inventory = { scope: 'none', containers: [], changed: [] };

/** A running agent. */
export interface RunningAgent {
  readonly attester: string;
  close(): Promise<void>;
  /** Ends when the agent can't go on; rejects with why. */
  readonly ended: Promise<void>;
}

/**
 * The trust agent: opens the TPM and the instance log, enrols if it has not, then shows evidence at start, every
 * interval, whenever it is asked, and when something has changed; on a device it carries out orders, on a build host it serves build
 * sessions.
 */
export async function runAgent(config: AgentConfig, logger: Logger): Promise<RunningAgent> {
  const lock = lockState(config.stateDir);
  await removeUnfinished(config.stateDir);
  const identity = await identityOf(config);
  const stop = new AbortController();
  const instanceLog = await InstanceLog.open(config.stateDir, identity);
  const device = await Device.open(config, instanceLog);
  const measurements = measurementsOf(config);
  const connection = new Connection(config, {
    attester: config.attester,
    identity,
    instanceLog,
    inventory: () => device?.inventory() ?? Promise.resolve(NO_INVENTORY),
    measurements,
    enrolment: () => enrolmentOf(config, identity),
  });
  let last: { readonly reply: EvidenceReply; readonly at: string } | undefined;
  const attest = async () => {
    const reply = await connection.attest();
    last = { reply, at: new Date().toISOString() };
    const { state, tier, reasons } = reply.platform;
    logger.info({ state, tier, reasons: reasons.map(({ code }) => code), result: reply.result }, 'attested');
    return reply;
  };
  let admitted = false;
  const status = (): Reply<typeof agentStatus> => ({
    attester: config.attester,
    kind: config.kind,
    server: config.server,
    admitted,
    state: last?.reply.platform.state ?? 'UNKNOWN',
    ...(last?.reply.platform.tier === undefined ? {} : { tier: last.reply.platform.tier }),
    ...(last === undefined ? {} : { lastEvidenceAt: last.at }),
    instances:
      device?.known.all().map(({ instance, container, image }) => ({ instance, container, image })) ?? [],
  });
  const builds =
    config.kind === 'builder'
      ? await BuildSessions.load({
          attester: config.attester,
          stateDir: config.stateDir,
          connection,
          identity,
        })
      : undefined;
  // The socket is up before the server is reached: the shim must be answered with the server away.
  const socket = await listen(socketOf(config), { status, attest, builds, gate: device?.gate });

  const work = async () => {
    await ensureEnrolled(config, identity, logger, stop.signal);
    admitted = true;
    const following = device?.follow({ config, connection, identity, log: instanceLog, logger }, stop.signal);
    await Promise.all([
      attestContinuously(
        {
          intervalSeconds: config.intervalSeconds ?? DEFAULT_INTERVAL_SECONDS,
          connection,
          instanceLog,
          measurements,
          attest,
          logger,
        },
        stop.signal,
      ),
      following,
    ]);
  };
  const ended = work().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  return {
    attester: config.attester,
    ended,
    async close() {
      // While it can still be heard: what goes down says so.
      await connection.leave((await isGoingDown()) ? 'rebooting' : 'ending');
      stop.abort();
      await socket.close();
      await ended.catch(() => undefined);
      await connection.close();
      await instanceLog.close();
      await identity.close();
      lock.release();
    },
  };
}

/** What is to be enrolled: this name, with this TPM's AK, at this server. */
function wanted({ attester, server }: AgentConfig, identity: TpmIdentity) {
  return { attester, server, ak: toHex(identity.akName) };
}

/** The challenge by which it was, if it was. */
function enrolmentOf(config: AgentConfig, identity: TpmIdentity): Promise<string | undefined> {
  return readEnrolment(config.stateDir, wanted(config, identity));
}

/** Enrols unless this TPM's keys are enrolled; waits for the operator where one must decide. */
async function ensureEnrolled(
  config: AgentConfig,
  identity: TpmIdentity,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  if ((await enrolmentOf(config, identity)) !== undefined) return;
  const outcome = await retrying(logger, signal, () =>
    enrol(config, identity, {
      signal,
      wait: true,
      pending: ({ state, reason }, ek) =>
        logger.warn({ state, reason, ek }, 'the claim waits for the operator'),
    }),
  );
  requireAdmitted(outcome);
  await writeEnrolment(config.stateDir, { ...wanted(config, identity), challenge: outcome.challenge });
  logger.info({ attester: config.attester }, 'enrolled');
}
