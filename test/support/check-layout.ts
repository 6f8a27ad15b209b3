import { posix } from 'node:path';
import { type Imports, importsOf } from './imports.ts';
import { type Exception, judges, LAYOUT, LOADERS, ROLES, reachesOutside, TEST_IMPORTS } from './layout.ts';

/** Every source file and every package.json, by its path from the root of the project. */
export type Files = ReadonlyMap<string, string>;

/** The same, read once. */
export interface Tree {
  readonly files: Files;
  readonly imports: ReadonlyMap<string, Imports>;
  /** By the package's folder. */
  readonly manifests: ReadonlyMap<string, Manifest>;
  readonly exceptions: readonly Exception[];
}

interface Manifest {
  readonly name: string;
  readonly exports: ReadonlySet<string>;
  readonly dependencies: ReadonlySet<string>;
}

const SOURCE = /\.[cm]?[jt]sx?$/;
const SCOPE = '@kallio/';

export function readTree(files: Files, exceptions: readonly Exception[] = []): Tree {
  const imports = new Map<string, Imports>();
  const manifests = new Map<string, Manifest>();
  for (const [path, text] of files) {
    if (SOURCE.test(path)) imports.set(path, importsOf(text));
    else if (path === `${homeOf(path)}/package.json`) manifests.set(homeOf(path), manifestOf(text));
  }
  return { files, imports, manifests, exceptions };
}

function manifestOf(text: string): Manifest {
  const json: { name: string; exports?: object; dependencies?: object } = JSON.parse(text);
  return {
    name: json.name,
    exports: new Set(Object.keys(json.exports ?? {})),
    dependencies: new Set(Object.keys(json.dependencies ?? {})),
  };
}

/** Each rule says what a tree does that it must not, a sentence each. */
export const RULES: readonly (readonly [name: string, check: (tree: Tree) => string[]])[] = [
  ['every package has its place in the layout', placed],
  ['every import can be read', readable],
  ['no relative import crosses the border of a package', withinBorders],
  ['sources do not import tests', sourcesWithoutTests],
  ['packages are imported by what they export', byExports],
  ['packages import only what the layout allows', byLayout],
  ['files that judge reach nothing outside the process', judgeInside],
  ['package.json names the packages that the sources import, and no others', dependencies],
  ['no files load each other in a circle', circles],
];

/** The folder of the package that a file belongs to: `packages/x`, `e2e`, `bench`. */
function homeOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  return first === 'packages' ? `${first}/${second}` : first;
}

function isTest(path: string): boolean {
  return path.startsWith(`${homeOf(path)}/test/`);
}

/** The sentences of a check on each import of each file. */
function onEach(tree: Tree, check: (path: string, specifier: string) => string | undefined): string[] {
  const problems: string[] = [];
  for (const [path, { all }] of tree.imports) {
    for (const specifier of all) {
      const problem = check(path, specifier);
      if (problem !== undefined) problems.push(`${path}: ${problem}`);
    }
  }
  return problems;
}

function placed({ files, manifests }: Tree): string[] {
  return [...new Set([...files.keys()].map(homeOf))].flatMap((home) => {
    if (!LAYOUT.has(home)) return [`${home}: the layout has no place for it`];
    const expected = SCOPE + posix.basename(home);
    return manifests.get(home)?.name === expected
      ? []
      : [`${home}: its package.json must name it ${expected}`];
  });
}

function readable({ imports }: Tree): string[] {
  return [...imports].flatMap(([path, { unreadable }]) => {
    if (!LOADERS.has(path)) return unreadable.map((what) => `${path}: ${what}`);
    return unreadable.length > 0 ? [] : [`${path}: needs no exception to load what it does not name`];
  });
}

/** The file that a relative specifier means. */
function target(path: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : undefined;
}

function withinBorders(tree: Tree): string[] {
  return onEach(tree, (path, specifier) => {
    if (specifier.startsWith('/') || specifier.startsWith('file:'))
      return `${specifier} is a place on one machine`;
    const file = target(path, specifier);
    if (file === undefined || file.startsWith(`${homeOf(path)}/`)) return undefined;
    return `${specifier} leaves its package`;
  });
}

function sourcesWithoutTests(tree: Tree): string[] {
  return onEach(tree, (path, specifier) => {
    const file = target(path, specifier);
    return file !== undefined && isTest(file) && !isTest(path) ? `${specifier} is a test's` : undefined;
  });
}

/** `tpm` and `structures` of `@kallio/tpm/structures`; nothing for what is no package of ours. */
function ours(specifier: string): { name: string; inside: string[] } | undefined {
  if (!specifier.startsWith(SCOPE)) return undefined;
  const [name = '', ...inside] = specifier.slice(SCOPE.length).split('/');
  return { name, inside };
}

function byExports(tree: Tree): string[] {
  return onEach(tree, (_, specifier) => {
    const found = ours(specifier);
    if (found === undefined) return undefined;
    const { exports: exported } =
      tree.manifests.get(`packages/${found.name}`) ?? tree.manifests.get(found.name) ?? {};
    return exported?.has(['.', ...found.inside].join('/')) ? undefined : `${specifier} is not exported`;
  });
}

function byLayout(tree: Tree): string[] {
  return onEach(tree, (path, specifier) => {
    const found = ours(specifier);
    if (found === undefined) return undefined;
    const own = posix.basename(homeOf(path));
    const listed = LAYOUT.get(homeOf(path)) ?? [];
    const allowed = isTest(path) ? [...listed, ...TEST_IMPORTS, own] : listed;
    if (allowed.includes(found.name) || allowed.includes([found.name, ...found.inside].join('/')))
      return undefined;
    return ROLES.includes(own) && ROLES.includes(found.name)
      ? `the role ${own} imports the role ${found.name}, but roles speak the protocol`
      : `${own} may not import ${specifier}`;
  });
}

/** Neither by their own imports nor through other files of their package. */
function judgeInside({ files, imports, exceptions }: Tree): string[] {
  const problems: string[] = [];
  const needed = new Set<Exception>();
  const excepted = (file: string, reaches: string): boolean => {
    const found = exceptions.filter((e) => e.file === file && reaches.startsWith(e.reaches));
    for (const exception of found) needed.add(exception);
    return found.length > 0;
  };
  for (const start of imports.keys()) {
    if (!judges(start)) continue;
    // A set that grows while it is walked: every file that the first one leads to.
    const seen = new Set([start]);
    for (const path of seen) {
      for (const specifier of imports.get(path)?.all ?? []) {
        const file = target(path, specifier);
        if (file !== undefined) {
          if (files.has(file) && !excepted(path, file)) seen.add(file);
        } else if (reachesOutside(specifier) && !excepted(path, specifier)) {
          problems.push(`${start}: reaches ${specifier}${path === start ? '' : ` through ${path}`}`);
        }
      }
    }
  }
  for (const exception of exceptions) {
    if (!needed.has(exception))
      problems.push(`${exception.file}: needs no exception for ${exception.reaches}`);
  }
  return problems;
}

function dependencies({ imports, manifests }: Tree): string[] {
  const problems: string[] = [];
  for (const [home, { dependencies }] of manifests) {
    const sources = [...imports].filter(([path]) => homeOf(path) === home && !isTest(path));
    const names = sources.flatMap(([, { all }]) => all.flatMap((specifier) => ours(specifier)?.name ?? []));
    const imported = new Set(names.map((name) => SCOPE + name));
    for (const name of imported) {
      if (!dependencies.has(name)) problems.push(`${home}: imports ${name}, which package.json lacks`);
    }
    for (const name of dependencies) {
      if (!name.startsWith(SCOPE) || imported.has(name)) continue;
      problems.push(`${home}: package.json names ${name}, which no source imports`);
    }
  }
  return problems;
}

function circles({ imports }: Tree): string[] {
  const problems: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) problems.push([...trail.slice(at), path].join(' -> '));
    if (at >= 0 || done.has(path)) return;
    for (const specifier of imports.get(path)?.loaded ?? []) {
      const file = target(path, specifier);
      if (file !== undefined) visit(file, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return problems;
}
