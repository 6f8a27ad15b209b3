import { readFileSync } from 'node:fs';
import { parseDigest } from '@kallio/codec';
import type { ImageConfigClaims } from '@kallio/oci';
import type { Confinement } from '../../src/instances/config-check.ts';
import type { RuntimeConfig } from '../../src/instances/runtime-config.ts';

/** A field at any depth is writable: attacks edit it. */
export type Editable<T> = { -readonly [K in keyof T]: Editable<T[K]> };

const CAPTURED = readFileSync(new URL('../fixtures/podman-4.3-config.json', import.meta.url), 'utf8');

export const CONTAINER = 'd160b72535a9b6fb44011489434b60ba6d3bbe1511d55908aff0a9eb989af310';

/** What podman 4.3 wrote for the sample application, started as the agent starts it. A fresh copy each time. */
export function honestConfig(): Editable<RuntimeConfig> {
  return JSON.parse(CAPTURED);
}

/** What the sample application's image says of itself. */
export const CLAIMS: ImageConfigClaims = {
  os: 'linux',
  architecture: 'amd64',
  user: '1000:1000',
  entrypoint: ['/bin/busybox', 'httpd', '-f', '-p', '8080', '-h', '/srv/www'],
  command: [],
  environment: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'DATA=/data'],
  workingDirectory: '/data',
  ports: ['8080/tcp'],
  volumes: [],
  labels: {},
  stopSignal: '',
  layers: [parseDigest(`sha256:${'1'.repeat(64)}`)],
};

export const CONFINEMENT: Confinement = {
  container: CONTAINER,
  storage: '/var/lib/containers/storage',
  runRoot: '/run/containers/storage',
};
