import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { OutputOptions, Plugin } from 'rolldown';
import { PROJECT } from './sources.ts';

/** What makes schemas. To make one has no effect: one that nothing is checked by is left out. */
const SCHEMAS = ['Type', 'Exact', 'Hex', 'Base64'];

const BROKEN = ['UNRESOLVED_IMPORT', 'IMPORT_IS_UNDEFINED', 'MISSING_EXPORT'];

/** Commands that are also bundled by themselves, each from a file of its name in `quick/`: their start is what one waits for. */
export const QUICK: readonly string[] = ['verify'];

/**
 * Installs Kallio in a folder: the command bundled into a few files, dependencies and all, each command's code in files of
 * its own that only it loads. Started by `node FOLDER/lib/main.js`. Beside a quicker start this matters to a machine that
 * measures every file it reads.
 */
export async function installKallio(target: string): Promise<void> {
  const file = (path: string) => join(PROJECT, 'packages', path);
  const lib = join(target, 'lib');
  await bundle(file('cli/src/main.ts'), lib);
  await copyFile(file('cli/package.json'), join(target, 'package.json'));
  await copyFile(file('agent/src/shim/kallio-runc'), join(lib, 'kallio-runc'));
}

/** Bundles one command of {@link QUICK} into `folder/<command>.js`; answers with the sources that it was made of. */
export async function installQuick(command: string, folder: string): Promise<readonly string[]> {
  // What it needs from the start in one file: each further one costs as much as twenty kilobytes of code.
  return bundle(
    join(PROJECT, `packages/cli/src/quick/${command}.ts`),
    folder,
    { codeSplitting: { groups: [{ name: command, tags: ['$initial'] }] } },
    [plainSchemas],
  );
}

/** Bundles a program into a folder; answers with every file of the project that was read for it, also of what it left out. */
async function bundle(
  input: string,
  folder: string,
  options: OutputOptions = {},
  plugins: readonly Plugin[] = [],
): Promise<readonly string[]> {
  const { rolldown } = await import('rolldown');
  await mkdir(folder, { recursive: true });
  const read = new Set<string>();
  const made = await rolldown({
    input,
    cwd: PROJECT,
    platform: 'node',
    plugins: [noPrograms, ...plugins, { name: 'read', moduleParsed: ({ id }) => void read.add(id) }],
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
    await made.write({
      ...options,
      dir: folder,
      format: 'cjs',
      minify: { compress: false, mangle: false },
    });
  } finally {
    await made.close();
  }
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    await writeFile(path, ascii(await readFile(path, 'utf8')));
  }
  await writeFile(join(folder, 'package.json'), '{"type":"commonjs"}\n');
  return [...read].map((id) => relative(PROJECT, id)).filter((path) => path.startsWith('packages/'));
}

const NO_PROGRAMS = join(import.meta.dirname, 'no-programs.ts');

/** Commander would load what starts programs, for commands that are programs of their own: there are none here. */
const noPrograms: Plugin = {
  name: 'no-programs',
  resolveId: (source, importer) =>
    source === 'node:child_process' && importer?.includes('/commander/') === true ? NO_PROGRAMS : null,
};

const PLAIN_SCHEMAS = join(import.meta.dirname, 'plain-schemas.ts');

/** What is checked by a schema here reads it as JSON Schema. */
const plainSchemas: Plugin = {
  name: 'plain-schemas',
  resolveId: (source) => (source === 'typebox' ? PLAIN_SCHEMAS : null),
};

/** Escapes what is not ASCII: Node keeps the text of a program that is all ASCII in half the memory. */
function ascii(code: string): string {
  return code.replaceAll(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
