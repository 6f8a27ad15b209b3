import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROJECT } from './sources.ts';

/** What makes schemas. To make one has no effect: one that nothing is checked by is left out. */
const SCHEMAS = ['Type', 'Exact', 'Hex', 'Base64'];

const BROKEN = ['UNRESOLVED_IMPORT', 'IMPORT_IS_UNDEFINED', 'MISSING_EXPORT'];

/**
 * Installs Kallio in a folder: the command bundled into a few files, dependencies and all, each command's code in files of
 * its own that only it loads. Started by `node FOLDER/lib/main.js`. Beside a quicker start this matters to a machine that
 * measures every file it reads.
 */
export async function installKallio(target: string): Promise<void> {
  const { rolldown } = await import('rolldown');
  const file = (path: string) => join(PROJECT, 'packages', path);
  const lib = join(target, 'lib');
  await mkdir(lib, { recursive: true });
  const bundle = await rolldown({
    input: file('cli/src/main.ts'),
    cwd: PROJECT,
    platform: 'node',
    treeshake: {
      // Modules here only declare: one of which nothing is used is left out.
      moduleSideEffects: [{ test: /\/(?:packages|typebox)\//, sideEffects: false }],
      manualPureFunctions: SCHEMAS,
    },
    onLog(_, log) {
      // Of the bundler's warnings these are errors: it would go on, and the command end where the source would not start.
      if (BROKEN.includes(log.code ?? '')) throw new Error(log.message);
    },
  });
  try {
    // CommonJS: to import a part of Node as an ES module runs every getter that it exports, and loads what is behind.
    await bundle.write({ dir: lib, format: 'cjs', minify: { compress: false, mangle: false } });
  } finally {
    await bundle.close();
  }
  for (const name of await readdir(lib)) {
    const path = join(lib, name);
    await writeFile(path, ascii(await readFile(path, 'utf8')));
  }
  await writeFile(join(lib, 'package.json'), '{"type":"commonjs"}\n');
  await copyFile(file('cli/package.json'), join(target, 'package.json'));
  await copyFile(file('agent/src/shim/kallio-runc'), join(lib, 'kallio-runc'));
}

/** Escapes what is not ASCII: Node keeps the text of a program that is all ASCII in half the memory. */
function ascii(code: string): string {
  return code.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
