import { setTimeout as wait } from 'node:timers/promises';
import { KallioError } from '@kallio/codec';
import { ATTESTER_STREAM, type EvidenceReply, events } from '@kallio/protocol';
import type { Logger } from 'pino';
import type { Connection } from './connection.ts';
import type { InstanceLog } from './instances/log.ts';
import type { Measurements } from './measurements/measurements.ts';
import { Pace } from './pace.ts';
import { retrying } from './retry.ts';

/** Looking at a number in memory costs nothing; so many new entries are not left until the next interval. */
const LOOK_MS = 2_000;
const BULK = 32;
/** Between an entry of the instance log and the evidence that shows it: a start is several entries. */
const SETTLE_MS = 500;

/** What attests. */
interface ContinuousParts {
  readonly intervalSeconds: number;
  readonly connection: Connection;
  readonly instanceLog: InstanceLog;
  readonly measurements: Measurements | undefined;
  readonly attest: () => Promise<EvidenceReply>;
  readonly logger: Logger;
}

/**
 * Shows evidence at start, every interval, and at once when there is a reason: the server asks, an instance starts or
 * stops, the kernel has measured many new files. Until `signal`.
 */
export async function attestContinuously(parts: ContinuousParts, signal: AbortSignal): Promise<void> {
  const { connection, instanceLog, measurements, logger } = parts;
  const pace = new Pace(parts.intervalSeconds * 1000);
  const seen = { ima: 0, instanceLog: 0 };
  const attest = async () => {
    const reply = await parts.attest();
    const { acknowledged, platform } = reply;
    const grown = acknowledged.ima > seen.ima + BULK || acknowledged.instanceLog !== seen.instanceLog;
    pace.shown(platform.state === 'VERIFIED' && !grown);
    seen.ima = acknowledged.ima;
    seen.instanceLog = acknowledged.instanceLog;
  };
  instanceLog.onEntry(() => {
    const look = () => {
      if (!signal.aborted && instanceLog.entries.length > seen.instanceLog) pace.now();
    };
    setTimeout(look, SETTLE_MS).unref();
  });
  await Promise.all([
    attestAtPace(),
    listenForPushes(connection, attest, logger, signal),
    measurements === undefined ? undefined : lookAtGrowth(measurements),
  ]);

  async function attestAtPace(): Promise<void> {
    while (!signal.aborted) {
      await retrying(logger, signal, () => recognised(connection, attest));
      await pace.pause(signal);
    }
  }

  async function lookAtGrowth({ ima }: Measurements): Promise<void> {
    while (!signal.aborted) {
      await wait(LOOK_MS, undefined, { signal }).catch(() => undefined);
      if (((await ima.count()) ?? 0) >= seen.ima + BULK) pace.now();
    }
  }
}

/** A server that does not know the certificate (any more: it was restored from a backup) is shown evidence for another. */
async function recognised<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof KallioError && error.code === 'UNAUTHENTICATED') connection.reset();
    throw error;
  }
}

/** The server asks for evidence over its stream: a device behind NAT can't be called. */
async function listenForPushes(
  connection: Connection,
  attest: () => Promise<void>,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const listen = async () => {
      for await (const { event } of events(await connection.client(), ATTESTER_STREAM, signal)) {
        if (event === 'attest') await attest();
      }
    };
    await retrying(logger, signal, () => recognised(connection, listen));
    await wait(1000 * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
  }
}
