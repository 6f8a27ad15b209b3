import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { decodeShape, Exact, parseJson } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { AttesterKind } from '@kallio/protocol';
import { type Static, Type } from 'typebox';
import { agentError } from './error.ts';

const Path = Type.String({ minLength: 1, maxLength: 4096 });

/** The kernel's files of measurements. Nothing in them is believed: what they say has to lead to the quoted PCRs. */
const MeasurementPaths = Exact({
  /** `binary_bios_measurements`. */
  firmware: Path,
  /** `binary_runtime_measurements`. */
  ima: Path,
  /** `runtime_measurements_count`. */
  imaCount: Path,
});
export type MeasurementPaths = Static<typeof MeasurementPaths>;

/** Every setting of a trust agent: `kallio agent --config FILE`. Relative paths are relative to that file. */
export const AgentConfig = Exact({
  /** This machine's name. */
  attester: AttesterId,
  /** `builder` or `device`. */
  kind: AttesterKind,
  /** `https://host:port` of the attestation server. */
  server: Type.String({ pattern: '^https://' }),
  /** PEM file of the only authority that is believed for the server. */
  serverCa: Path,
  /** `device:/dev/tpmrm0`, `swtpm:unix:/path`, `swtpm:HOST:PORT`, `mssim:HOST:PORT`. */
  tpm: Type.String({ minLength: 1 }),
  /** Keys (encrypted to the TPM), instance log, orders. Of no use on another machine. */
  stateDir: Path,
  /** EK certificates from files, where the TPM's NV does not hold them: PEM or DER. */
  endorsement: Type.Optional(
    Exact({
      certificate: Type.Optional(Path),
      /** A folder with the certificates between the EK's and the maker's root. */
      intermediates: Type.Optional(Path),
    }),
  ),
  /** Build hosts only: the signing key signs in PCR states alone that the operator has approved. */
  signing: Type.Optional(
    Exact({
      /** PEM of the operator's public key. */
      authority: Path,
      /** A folder of approvals, one file each. */
      approvals: Path,
    }),
  ),
  /** File with the join token; removed from nowhere, used once. */
  joinTokenFile: Type.Optional(Path),
  /** The agent's UNIX socket. Default: `agent.sock` in the state folder. */
  socket: Type.Optional(Path),
  /** Seconds between two evidence messages. Default 60, jittered. */
  intervalSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400 })),
  /**
   * `auto`: what the kernel offers. `none`: this machine's TPM is not the one that its firmware and kernel measure to.
   * Paths: where this process sees the kernel's files, if not below /sys/kernel/security.
   */
  measurements: Type.Optional(Type.Union([Type.Literal('auto'), Type.Literal('none'), MeasurementPaths])),
  /** Devices only. */
  device: Type.Optional(
    Exact({
      /** File with the image policy: what may run here. */
      imagePolicy: Path,
      /** Command of the engine. Default `podman`. */
      podman: Type.Optional(Path),
      /** The OCI runtime behind the shim. Default `/usr/bin/runc`. */
      runtime: Type.Optional(Path),
      /** podman's storage, where it is not the system's: `--root` and `--runroot`. */
      storage: Type.Optional(Exact({ root: Path, runRoot: Path })),
      /** `containers.conf` for podman. */
      containersConf: Type.Optional(Path),
      /**
       * `machine`: every container on it belongs to this device. `storage`: only those whose root lies in the storage
       * above, for several devices on one machine.
       */
      scope: Type.Optional(Type.Union([Type.Literal('machine'), Type.Literal('storage')])),
      /** Address at which published ports are reachable. Default 127.0.0.1. */
      address: Type.Optional(Type.String({ maxLength: 255 })),
      /** May anybody run further commands in an instance? Default false. */
      allowExec: Type.Optional(Type.Boolean()),
    }),
  ),
});
export type AgentConfig = Static<typeof AgentConfig>;

/** Reads a configuration file; what is wrong in it is named by its place. */
export function readConfig(path: string): AgentConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw agentError('AGENT_CONFIG', `The configuration ${path} can’t be read.`, { cause });
  }
  const config = decodeShape(AgentConfig, parseJson(text), 'AGENT_CONFIG', 'The agent’s configuration');
  if (config.kind === 'device' && config.device === undefined) {
    throw agentError('AGENT_CONFIG', 'A device needs the section "device".', { pointer: '/device' });
  }
  const base = dirname(resolve(path));
  const at = (file: string) => resolve(base, file);
  const { device, endorsement, joinTokenFile, measurements, signing, socket } = config;
  return {
    ...config,
    serverCa: at(config.serverCa),
    stateDir: at(config.stateDir),
    ...(endorsement === undefined
      ? {}
      : {
          endorsement: {
            ...(endorsement.certificate === undefined ? {} : { certificate: at(endorsement.certificate) }),
            ...(endorsement.intermediates === undefined
              ? {}
              : { intermediates: at(endorsement.intermediates) }),
          },
        }),
    ...(signing === undefined
      ? {}
      : { signing: { authority: at(signing.authority), approvals: at(signing.approvals) } }),
    ...(joinTokenFile === undefined ? {} : { joinTokenFile: at(joinTokenFile) }),
    ...(typeof measurements === 'object'
      ? {
          measurements: {
            firmware: at(measurements.firmware),
            ima: at(measurements.ima),
            imaCount: at(measurements.imaCount),
          },
        }
      : {}),
    socket: socket === undefined ? join(at(config.stateDir), 'agent.sock') : at(socket),
    ...(device === undefined
      ? {}
      : {
          device: {
            ...device,
            imagePolicy: at(device.imagePolicy),
            ...(device.containersConf === undefined ? {} : { containersConf: at(device.containersConf) }),
            ...(device.storage === undefined
              ? {}
              : { storage: { root: at(device.storage.root), runRoot: at(device.storage.runRoot) } }),
          },
        }),
  };
}

/** Where the agent's socket is. */
export function socketOf(config: AgentConfig): string {
  return config.socket ?? join(config.stateDir, 'agent.sock');
}
