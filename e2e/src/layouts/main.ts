import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Layer, MadeLayout, SHAPES } from './shapes.ts';

/*
 * Stands in for a builder: `main.ts SHAPE OUT [archive]` leaves at OUT an image layout of that shape, made now, in a folder or
 * in a tar archive. OUT must not be there yet, or be an empty folder.
 */

function layerOf(dir: string): Layer {
  writeFileSync(join(dir, 'greeting'), `moi ${process.pid}\n`, { mode: 0o755 });
  const tar = execFileSync('tar', ['-C', dir, '-c', 'greeting']);
  return { compressed: gzipSync(tar), diffId: `sha256:${createHash('sha256').update(tar).digest('hex')}` };
}

function write(layout: MadeLayout, dir: string): void {
  mkdirSync(join(dir, 'blobs/sha256'), { recursive: true });
  for (const [digest, bytes] of layout.blobs) {
    writeFileSync(join(dir, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
  }
  writeFileSync(join(dir, 'index.json'), JSON.stringify(layout.index, null, 3));
  writeFileSync(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

const [name = '', out = '', archive] = process.argv.slice(2);
const shape = SHAPES.get(name);
if (shape === undefined || out === '') throw new Error(`no shape ${name}`);
const dir = mkdtempSync(join(tmpdir(), 'kallio-layout-'));
try {
  const layout = new MadeLayout();
  shape(layout, layerOf(dir));
  rmSync(join(dir, 'greeting'));
  write(layout, archive === undefined ? out : dir);
  // In the order of containerd's exporter, which sorts by name.
  if (archive !== undefined)
    execFileSync('tar', ['-C', dir, '-cf', out, 'blobs', 'index.json', 'oci-layout']);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
