import { KallioError } from '@kallio/codec';
import type { AppInstanceInfo, AppLcmOpOcc, AttesterSummary, State } from '@kallio/protocol';
import type { StoredInstance } from '../store/instances.ts';
import type { StoredOperation } from '../store/operations.ts';
import type { StoredPackage } from '../store/packages.ts';
import type { Verifier } from './verifier.ts';

/** Instances as everybody is told them, with the state that the attestation server gives them now. */
export async function instanceViews(
  instances: readonly (readonly [StoredInstance, StoredPackage | undefined])[],
  verifier: Verifier,
): Promise<AppInstanceInfo[]> {
  const anywhere = instances.some(([{ device }]) => device !== undefined);
  const devices = new Map<string, Standing>();
  if (anywhere) for (const device of await standings(verifier)) devices.set(device.summary.attester, device);
  return Promise.all(
    instances.map(async ([instance, onboarded]) =>
      instanceView(instance, onboarded, await stateOf(instance, devices, verifier)),
    ),
  );
}

interface Standing {
  readonly summary: AttesterSummary;
  instances?: ReturnType<Verifier['instancesOf']>;
}

async function standings(verifier: Verifier): Promise<Standing[]> {
  try {
    return (await verifier.devices()).map((summary) => ({ summary }));
  } catch (error) {
    // With the attestation server away nothing is known, and that is what is said.
    if (error instanceof KallioError) return [];
    throw error;
  }
}

async function stateOf(
  { id, device }: StoredInstance,
  devices: ReadonlyMap<string, Standing>,
  verifier: Verifier,
): Promise<State> {
  const standing = device === undefined ? undefined : devices.get(device);
  if (standing === undefined) return 'UNKNOWN';
  if (standing.summary.state === 'STALE') return 'STALE';
  standing.instances ??= verifier.instancesOf(standing.summary);
  return (await standing.instances).get(id)?.state ?? 'UNKNOWN';
}

function instanceView(
  instance: StoredInstance,
  onboarded: StoredPackage | undefined,
  state: State,
): AppInstanceInfo {
  const { device, running, address, refusal, name } = instance;
  return {
    id: instance.id,
    ...(name === undefined ? {} : { appInstanceName: name }),
    appDId: onboarded?.appd?.appDId ?? '',
    appPkgId: instance.package,
    instantiationState: running ? 'INSTANTIATED' : 'NOT_INSTANTIATED',
    ...(running ? { operationalState: 'STARTED' as const } : {}),
    kallio: {
      ...(device === undefined ? {} : { device }),
      ...(onboarded?.digest === undefined ? {} : { digest: onboarded.digest }),
      state,
      ...(address === undefined ? {} : { address }),
      ...(refusal === undefined ? {} : { refusal }),
    },
  };
}

/** An operation as everybody is told it. */
export function operationView(operation: StoredOperation): AppLcmOpOcc {
  const { id, instance, startedAt, enteredAt, grant, error } = operation;
  return {
    id,
    appInstanceId: instance,
    lcmOperation: operation.operation,
    operationState: operation.state,
    startTime: new Date(startedAt).toISOString(),
    stateEnteredTime: new Date(enteredAt).toISOString(),
    ...(grant === undefined ? {} : { grantId: grant }),
    ...(error === undefined ? {} : { error }),
  };
}
