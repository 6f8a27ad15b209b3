import { type Digest, DigestSchema, decodeShape, type Json, parseDigest } from '@kallio/codec';
import { Type } from 'typebox';

const Strings = Type.Array(Type.String({ maxLength: 65_536 }), { maxItems: 4096 });
const StringMap = Type.Record(Type.String(), Type.String());
const KeySet = Type.Record(Type.String(), Type.Object({}));
const Nullable = <S extends Parameters<typeof Type.Optional>[0]>(schema: S) =>
  Type.Optional(Type.Union([schema, Type.Null()]));

const ConfigShape = Type.Object({
  architecture: Type.String({ minLength: 1, maxLength: 64 }),
  os: Type.String({ minLength: 1, maxLength: 64 }),
  variant: Type.Optional(Type.String({ maxLength: 64 })),
  config: Type.Optional(
    Type.Object({
      User: Type.Optional(Type.String({ maxLength: 256 })),
      ExposedPorts: Nullable(KeySet),
      Env: Nullable(Strings),
      Entrypoint: Nullable(Strings),
      Cmd: Nullable(Strings),
      Volumes: Nullable(KeySet),
      WorkingDir: Type.Optional(Type.String({ maxLength: 4096 })),
      Labels: Nullable(StringMap),
      StopSignal: Type.Optional(Type.String({ maxLength: 64 })),
    }),
  ),
  rootfs: Type.Object({
    type: Type.Literal('layers'),
    diff_ids: Type.Array(DigestSchema, { maxItems: 512 }),
  }),
});

/** What an image's configuration says about how it runs (image specification 1.1, "Image Configuration"). */
export interface ImageConfigClaims {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly environment: readonly string[];
  readonly workingDirectory: string;
  /** `8080/tcp`, sorted. */
  readonly ports: readonly string[];
  /** Paths, sorted. */
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
  /** Digests of the uncompressed layers, base first. */
  readonly layers: readonly Digest[];
}

/** The claims of an image configuration; the same configuration always gives the same claims. */
export function configClaims(config: Json): ImageConfigClaims {
  const shape = decodeShape(ConfigShape, config, 'OCI_CONFIG', 'The image configuration');
  const run = shape.config ?? {};
  return {
    os: shape.os,
    architecture: shape.architecture,
    ...(shape.variant === undefined ? {} : { variant: shape.variant }),
    user: run.User ?? '',
    entrypoint: run.Entrypoint ?? [],
    command: run.Cmd ?? [],
    environment: run.Env ?? [],
    workingDirectory: run.WorkingDir ?? '',
    ports: Object.keys(run.ExposedPorts ?? {}).sort(),
    volumes: Object.keys(run.Volumes ?? {}).sort(),
    labels: { ...(run.Labels ?? {}) },
    stopSignal: run.StopSignal ?? '',
    layers: shape.rootfs.diff_ids.map(parseDigest),
  };
}
