import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Digest, fromUtf8 } from '@kallio/codec';
import { parseManifest, parseReference, Repository, referrerBlob } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE, EVIDENCE_TYPE, MAX_EVIDENCE, PREDICATE_TYPE } from '@kallio/signature';
import { Site } from '../site/site.ts';
import { fieldsOf, withValues } from './table.ts';

/*
 * Makes docs/examples anew from a real build on this machine, and puts its values into the table of docs/formats.md: `npm
 * run example`. A test fails while a field is there that the table does not explain.
 */

const EXAMPLES = fileURLToPath(new URL('../../../docs/examples/', import.meta.url));
const MAX = 4 * 1024 * 1024;

const site = await Site.create();
try {
  await Promise.all([site.startRegistry(), site.makeTpms([site.builder])]);
  await site.startServer();
  await site.startMachine(site.builder, 0);
  const image = `${site.registry}/shop/greeting:1`;
  await site.run('build', '-t', image, await context(), '--agent', site.builder.socket);
  const repository = new Repository(parseReference(image));
  const manifest = await repository.manifest('1');
  const parsed = parseManifest(manifest.bytes, manifest.mediaType);
  if (parsed.kind !== 'manifest') throw new Error('an image was built');
  await rm(join(EXAMPLES, 'layout'), { recursive: true, force: true });
  await site.run('copy', image, `oci:${join(EXAMPLES, 'layout')}`);
  const policy = await site.run('policy', 'image', '--builder', site.builder.name, '--tier', 'C');
  await mkdir(EXAMPLES, { recursive: true });
  const put = (name: string, content: string | Uint8Array) => writeFile(join(EXAMPLES, name), content);
  await put('manifest.json', manifest.bytes);
  await put('config.json', await repository.blob(parsed.config, MAX));
  const bundle = await attached(repository, manifest.digest, BUNDLE_MEDIA_TYPE);
  await put('bundle.json', bundle);
  await put('evidence.json', await attached(repository, manifest.digest, EVIDENCE_TYPE));
  await put('image-policy.json', `${JSON.stringify(policy, null, 2)}\n`);
  const formats = fileURLToPath(new URL('../../../docs/formats.md', import.meta.url));
  const text = await readFile(formats, 'utf8');
  await writeFile(formats, withValues(text, '## A real example', fieldsOf(bundle)));
  process.stdout.write(`${EXAMPLES}: ${manifest.digest}\n`);
} finally {
  await site.destroy();
}

/** One file, one user, one label. */
async function context(): Promise<string> {
  const folder = join(site.dir, 'greeting');
  await mkdir(folder, { recursive: true });
  const lines = [
    'FROM scratch',
    'COPY greeting /greeting',
    'USER 1000',
    'LABEL org.opencontainers.image.source="https://git.example.org/shop/greeting"',
    'ENTRYPOINT ["/bin/cat", "/greeting"]',
  ];
  await writeFile(join(folder, 'Containerfile'), `${lines.join('\n')}\n`);
  await writeFile(join(folder, 'greeting'), 'good morning\n');
  return folder;
}

/** What is attached to the image: of bundles, the image signature's. */
async function attached(repository: Repository, subject: Digest, type: string): Promise<Uint8Array> {
  for (const { digest } of await repository.referrers(subject, type)) {
    const { bytes, mediaType } = await repository.manifest(digest);
    const manifest = parseManifest(bytes, mediaType);
    const blob = manifest.kind === 'manifest' ? referrerBlob(manifest, subject, type) : undefined;
    if (blob === undefined) continue;
    const content = await repository.blob(blob, MAX_EVIDENCE);
    if (type !== BUNDLE_MEDIA_TYPE || isSignature(content)) return content;
  }
  throw new Error(`no ${type} is attached to ${subject}`);
}

function isSignature(bundle: Uint8Array): boolean {
  const { dsseEnvelope } = JSON.parse(fromUtf8(bundle)) as { dsseEnvelope: { payload: string } };
  return Buffer.from(dsseEnvelope.payload, 'base64').toString('utf8').includes(PREDICATE_TYPE);
}
