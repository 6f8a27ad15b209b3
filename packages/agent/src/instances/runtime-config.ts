import { Exact } from '@kallio/codec';
import { type Static, Type } from 'typebox';

const Text = Type.String({ maxLength: 65_536 });
const Texts = Type.Array(Text, { maxItems: 4096 });
const Count = Type.Integer();
const Id = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });

const CapabilitySets = Exact({
  bounding: Type.Optional(Texts),
  effective: Type.Optional(Texts),
  inheritable: Type.Optional(Texts),
  permitted: Type.Optional(Texts),
  ambient: Type.Optional(Texts),
});

const Process = Exact({
  terminal: Type.Optional(Type.Boolean()),
  user: Exact({
    uid: Id,
    gid: Id,
    umask: Type.Optional(Id),
    additionalGids: Type.Optional(Type.Array(Id)),
  }),
  args: Type.Array(Text, { minItems: 1, maxItems: 4096 }),
  env: Type.Optional(Texts),
  cwd: Text,
  capabilities: Type.Optional(CapabilitySets),
  rlimits: Type.Optional(Type.Array(Exact({ type: Text, hard: Count, soft: Count }))),
  noNewPrivileges: Type.Optional(Type.Boolean()),
  apparmorProfile: Type.Optional(Text),
  selinuxLabel: Type.Optional(Text),
  oomScoreAdj: Type.Optional(Count),
});

const Mount = Exact({
  destination: Text,
  type: Type.Optional(Text),
  source: Type.Optional(Text),
  options: Type.Optional(Texts),
});

const Resources = Exact({
  devices: Type.Optional(
    Type.Array(
      Exact({
        allow: Type.Boolean(),
        type: Type.Optional(Text),
        major: Type.Optional(Count),
        minor: Type.Optional(Count),
        access: Type.Optional(Text),
      }),
    ),
  ),
  memory: Type.Optional(Type.Record(Text, Type.Union([Count, Type.Boolean()]))),
  cpu: Type.Optional(Type.Record(Text, Type.Union([Count, Text]))),
  pids: Type.Optional(Exact({ limit: Count })),
});

const Seccomp = Exact({
  defaultAction: Text,
  defaultErrnoRet: Type.Optional(Count),
  architectures: Type.Optional(Texts),
  listenerPath: Type.Optional(Text),
  listenerMetadata: Type.Optional(Text),
  syscalls: Type.Array(
    Exact({
      names: Texts,
      action: Text,
      errnoRet: Type.Optional(Count),
      args: Type.Optional(
        Type.Array(Exact({ index: Count, value: Count, valueTwo: Type.Optional(Count), op: Text })),
      ),
    }),
  ),
});

const Linux = Exact({
  resources: Type.Optional(Resources),
  cgroupsPath: Type.Optional(Text),
  namespaces: Type.Array(Exact({ type: Text, path: Type.Optional(Text) })),
  uidMappings: Type.Optional(Type.Array(Type.Unknown())),
  gidMappings: Type.Optional(Type.Array(Type.Unknown())),
  devices: Type.Optional(Type.Array(Type.Unknown())),
  rootfsPropagation: Type.Optional(Text),
  seccomp: Type.Optional(Seccomp),
  sysctl: Type.Optional(Type.Record(Text, Text)),
  maskedPaths: Type.Optional(Texts),
  readonlyPaths: Type.Optional(Texts),
  mountLabel: Type.Optional(Text),
});

/**
 * What is judged of a runtime configuration (OCI runtime specification 1.1, config.json): every field that there may be.
 *
 * Attack: a field that nobody looked at. Runtimes read JSON as Go does, where `Process` is `process` too and the later
 * one counts, so beside an honest `process` stands the attacker's `Process`. What is not named here is therefore
 * refused, at every depth, whether it is dangerous or not.
 */
export const RuntimeConfig = Exact({
  ociVersion: Type.Optional(Text),
  process: Process,
  root: Exact({ path: Text, readonly: Type.Optional(Type.Boolean()) }),
  hostname: Type.Optional(Text),
  mounts: Type.Array(Mount, { maxItems: 64 }),
  hooks: Type.Optional(Type.Record(Text, Type.Unknown())),
  annotations: Type.Optional(Type.Record(Text, Text)),
  linux: Linux,
});
export type RuntimeConfig = Static<typeof RuntimeConfig>;
