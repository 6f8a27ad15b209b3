import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../support/program.ts';

let dir: string;
let layout: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kallio-image-'));
  layout = join(dir, 'layout');
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function blob(mediaType: string, bytes: Uint8Array) {
  const hex = sha256(bytes);
  writeFileSync(join(layout, 'blobs/sha256', hex), bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

async function layer(files: readonly (readonly [path: string, content: string, mode: number])[]) {
  const tar = pack();
  for (const [name, content, mode] of files) tar.entry({ name, mode }, content);
  tar.finalize();
  return buffer(tar);
}

/** An image of these layers, uncompressed. Gives the path of the upper layer. */
async function image(...layers: Parameters<typeof layer>[0][]): Promise<string> {
  const tars = await Promise.all(layers.map(layer));
  const descriptors = tars.map((tar) => blob('application/vnd.oci.image.layer.v1.tar', tar));
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const diffIds = descriptors.map(({ digest }) => digest);
  const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: diffIds } };
  const manifest = blob(
    MANIFEST,
    json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: blob('application/vnd.oci.image.config.v1+json', json(config)),
      layers: descriptors,
    }),
  );
  writeFileSync(
    join(layout, 'index.json'),
    json({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [manifest] }),
  );
  return join(layout, 'blobs/sha256', descriptors.at(-1)?.digest.slice('sha256:'.length) ?? '');
}

async function scan(...more: string[]) {
  const paths = join(dir, 'paths');
  const { exit, out } = await run(
    ...['reference', 'scan', layout, '--out', join(dir, 'ref.json'), '--paths', paths, '--json', ...more],
  );
  return { exit, document: JSON.parse(out), listing: exit === 0 ? readFileSync(paths, 'utf8') : '' };
}

describe('a scan of an image', () => {
  it('takes the files of its file system as it is in the end, by mode and name', async () => {
    await image(
      [
        ['usr/bin/tool', 'the first tool', 0o755],
        ['usr/bin/gone', 'gone', 0o755],
        ['usr/lib/libx.so.1', 'a library', 0o644],
        ['etc/config', 'a setting', 0o644],
      ],
      [
        ['usr/bin/tool', 'the second tool', 0o755],
        ['usr/bin/.wh.gone', '', 0o644],
      ],
    );
    const { exit, document, listing } = await scan();
    expect(exit).toBe(0);
    expect(listing).toBe(
      `${sha256('the second tool')}  /usr/bin/tool\n${sha256('a library')}  /usr/lib/libx.so.1\n`,
    );
    expect(document.sources).toMatchObject([{ kind: 'image', digest: expect.stringMatching(/^sha256:/) }]);
    expect((await scan('--all')).listing).toContain(`${sha256('a setting')}  /etc/config\n`);
  });

  it('is refused when a layer is not what its manifest names', async () => {
    const path = await image([['usr/bin/tool', 'a tool', 0o755]]);
    expect((await scan()).exit).toBe(0);
    const bytes = readFileSync(path);
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const { exit, document } = await scan();
    expect([exit, document.error.code]).toEqual([1, 'OCI_DIGEST_MISMATCH']);
  });
});
