import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, Service } from '../site/process.ts';
import { debianPeer } from './debian.ts';

/** A running Docker Engine that nobody else knows of, or why there is none. */
export type DockerEngine =
  | {
      /** With its version. */
      readonly name: string;
      /** By which `docker` finds its programs and the engine. */
      readonly env: Readonly<Record<string, string>>;
      stop(): Promise<void>;
      readonly missing?: undefined;
    }
  | { readonly missing: string; stop(): Promise<void> };

/**
 * Starts the Docker Engine of Debian trixie with its image store in `dir`, without networks: what is built from nothing needs
 * none. It is unpacked beside the system, and its mounts are its own. Of containerd, only what builds: its other parts make
 * folders elsewhere.
 */
export async function dockerEngine(dir: string): Promise<DockerEngine> {
  const peer = await debianPeer('trixie', 'docker.io', ['containerd', 'docker-cli', 'docker-buildx']);
  const none = (missing: string): DockerEngine => ({ missing, stop: async () => {} });
  if (peer.missing !== undefined) return none(peer.missing);
  await mkdir(join(dir, 'cli/cli-plugins'), { recursive: true });
  await symlink(
    join(peer.root, 'usr/libexec/docker/cli-plugins/docker-buildx'),
    join(dir, 'cli/cli-plugins/docker-buildx'),
  );
  const PATH = `${peer.bin}:${join(peer.root, 'usr/sbin')}:${process.env.PATH}`;
  const buildx = await run('docker', ['buildx', 'version'], {
    env: { PATH, DOCKER_CONFIG: join(dir, 'cli') },
  });
  // Programs of a later release, and an older C library.
  if (buildx.code !== 0) return none(`${peer.name} does not run here: ${buildx.stderr.trim()}`);

  const store = join(dir, 'containerd.sock');
  const engine = join(dir, 'docker.sock');
  await writeFile(join(dir, 'containerd.toml'), containerdSettings(dir, store));
  await writeFile(join(dir, 'dockerd.json'), JSON.stringify(dockerdSettings(dir, store)));
  const start = (name: string, socket: string, ...command: readonly string[]) =>
    Service.start(
      name,
      join(dir, `${name}.log`),
      'unshare',
      ['--mount', '--propagation', 'private', '--', name, ...command],
      () => existsSync(socket),
      { PATH },
    );
  const services: Service[] = [];
  const stop = async () => {
    for (const service of services.toReversed()) await service.stop();
  };
  try {
    services.push(await start('containerd', store, '--config', join(dir, 'containerd.toml')));
    const args = ['--config-file', join(dir, 'dockerd.json'), '--host', `unix://${engine}`];
    services.push(await start('dockerd', engine, ...args));
    return {
      name: `docker.io ${peer.version}, ${buildx.stdout.trim()}`,
      env: { PATH, DOCKER_CONFIG: join(dir, 'cli'), DOCKER_HOST: `unix://${engine}` },
      stop,
    };
  } catch (error) {
    await stop();
    // A machine that lets nobody mount, or a kernel that has not what it wants: no fault of what is tested with it.
    return none(`${peer.name} does not start here: ${error instanceof Error ? error.message : error}`);
  }
}

function containerdSettings(dir: string, address: string): string {
  const text = (value: string) => JSON.stringify(value);
  return `version = 2
root = ${text(join(dir, 'containerd'))}
state = ${text(join(dir, 'containerd-state'))}
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.cri"]
[grpc]
  address = ${text(address)}
`;
}

function dockerdSettings(dir: string, containerd: string): object {
  return {
    containerd,
    'data-root': join(dir, 'docker'),
    'exec-root': join(dir, 'docker-state'),
    pidfile: join(dir, 'docker.pid'),
    // Its older image store exports no OCI layouts.
    features: { 'containerd-snapshotter': true },
    'storage-driver': 'native',
    bridge: 'none',
    iptables: false,
    ip6tables: false,
  };
}
