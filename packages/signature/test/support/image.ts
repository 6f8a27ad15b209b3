import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Digest, digestOf, utf8 } from '@kallio/codec';
import { MEDIA } from '@kallio/oci';

/** A small image of one layer, as a builder would leave it. */
export interface TestImage {
  readonly layer: Uint8Array;
  readonly config: Uint8Array;
  readonly manifest: Uint8Array;
  readonly digest: Digest;
}

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const platform = 'linux/amd64';

/** An image that holds one file, `/greeting`. */
export function testImage(greeting: string): TestImage {
  const tar = tarOf(greeting);
  const layer = new Uint8Array(gzipSync(tar));
  const config = utf8(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/bin/cat'], Cmd: ['/greeting'], User: '1000' },
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    }),
  );
  const manifest = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: { mediaType: MEDIA.config, digest: digestOf(config), size: config.length },
      layers: [{ mediaType: LAYER, digest: digestOf(layer), size: layer.length }],
    }),
  );
  return { layer, config, manifest, digest: digestOf(manifest) };
}

function tarOf(greeting: string): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), 'kallio-layer-'));
  writeFileSync(join(directory, 'greeting'), greeting);
  const args = [
    '--create',
    '--mtime=@0',
    '--owner=0',
    '--group=0',
    '--mode=644',
    '-C',
    directory,
    'greeting',
  ];
  const { stdout, status } = spawnSync('tar', args);
  rmSync(directory, { recursive: true, force: true });
  if (status !== 0) throw new Error('tar failed');
  return new Uint8Array(stdout);
}
