import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { decodeShape, fromBase64, fromUtf8, KallioError, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { ociError } from '../error.ts';
import { collect } from '../source.ts';
import type { Credentials } from './credentials.ts';

/** Largest file of credentials that is read, in bytes. */
const MAX_FILE = 1024 * 1024;
const HELPER_MS = 30_000;
const MAX_HELPER_ANSWER = 64 * 1024;
/** Where Docker keeps what is for its own registry, and that registry as images name it. */
const DOCKER_HUB = 'https://index.docker.io/v1/';
const DOCKER = 'docker.io';

/** containers-auth.json(5), and Docker's configuration, which says more. */
const StoredFile = Type.Object({
  auths: Type.Optional(
    Type.Record(
      Type.String(),
      Type.Object({ auth: Type.Optional(Type.String()), identitytoken: Type.Optional(Type.String()) }),
    ),
  ),
  credHelpers: Type.Optional(Type.Record(Type.String(), Type.String())),
  credsStore: Type.Optional(Type.String()),
});

/** Attack: a name with a colon, of which the rest would be read as part of the password (RFC 7617 section 2). */
const HelperAnswer = Type.Object({ Username: Type.String({ pattern: '^[^:]*$' }), Secret: Type.String() });

/** What of the environment says where credentials are. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The credentials that podman, buildah, skopeo or Docker keep on this machine for a repository, looked for in the order of
 * containers-auth.json(5): the file that `REGISTRY_AUTH_FILE` names and no other, or else the files of this run, of the user
 * and of Docker. Undefined where there are none; `OCI_CREDENTIALS` where there is something that can't be used.
 */
export async function storedCredentials(
  registry: string,
  repository: string,
  environment: Environment = process.env,
): Promise<Credentials | undefined> {
  for (const file of filesOf(environment)) {
    const stored = await read(file);
    const found =
      stored === undefined ? undefined : await lookUp(file, stored, registry, repository, environment);
    if (found !== undefined) return found;
  }
  return undefined;
}

function filesOf(environment: Environment): readonly string[] {
  const { REGISTRY_AUTH_FILE: only, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, DOCKER_CONFIG, HOME } = environment;
  if (only !== undefined && only !== '') return [only];
  const home = HOME || homedir();
  const run = XDG_RUNTIME_DIR
    ? join(XDG_RUNTIME_DIR, 'containers')
    : `/run/containers/${process.getuid?.() ?? 0}`;
  return [
    join(run, 'auth.json'),
    join(XDG_CONFIG_HOME || join(home, '.config'), 'containers', 'auth.json'),
    join(DOCKER_CONFIG || join(home, '.docker'), 'config.json'),
  ];
}

async function read(file: string): Promise<Static<typeof StoredFile> | undefined> {
  try {
    // The length that a file says it has is not believed: it may be a device, or grow.
    const bytes = await collect(createReadStream(file, { end: MAX_FILE }), MAX_FILE, file);
    return decodeShape(StoredFile, parseJson(bytes, { maxBytes: MAX_FILE }), 'OCI_CREDENTIALS', file);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw unusable(file, cause);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/** A program for the registry is all that is asked (containers-auth.json(5)); a program for all, if nothing else is there. */
async function lookUp(
  file: string,
  { auths = {}, credHelpers = {}, credsStore }: Static<typeof StoredFile>,
  registry: string,
  repository: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  // Docker has its own registry under another name than podman.
  for (const key of registry === DOCKER ? [DOCKER, DOCKER_HUB] : [registry]) {
    const helper = Object.hasOwn(credHelpers, key) ? credHelpers[key] : undefined;
    if (helper !== undefined) return askHelper(file, helper, key, environment);
  }
  const [name, { auth, identitytoken }] = entryOf(new Map(Object.entries(auths)), registry, repository);
  if (identitytoken) return { identityToken: identitytoken };
  if (auth) return passwordOf(file, name, auth);
  const asked = registry === DOCKER ? DOCKER_HUB : registry;
  return credsStore ? askHelper(file, credsStore, asked, environment) : undefined;
}

type Entry = NonNullable<Static<typeof StoredFile>['auths']>[string];

/**
 * The entry of the nearest part of the registry that has one, under its name; or else of the registry under an address.
 * Attack: an address cut out of a name, so that what is for `team/v2` is shown for all of `team`.
 */
function entryOf(
  entries: ReadonlyMap<string, Entry>,
  registry: string,
  repository: string,
): readonly [name: string, entry: Entry] {
  for (const name of namesOf(registry, repository)) {
    const entry = entries.get(name);
    if (entry !== undefined) return [name, entry];
  }
  return [...entries].find(([key]) => addressed(key) === registry) ?? [registry, {}];
}

/** Docker writes some registries as addresses, and its own under older names. */
function addressed(key: string): string | undefined {
  const [, host] = /^https?:\/\/([^/]+)(?:\/(?:v[12]\/?)?)?$/.exec(key) ?? [];
  return host === 'index.docker.io' || host === 'registry-1.docker.io' ? DOCKER : host;
}

/** From the repository up to the registry: who has credentials for a part of a registry means that part. */
function namesOf(registry: string, repository: string): readonly string[] {
  const parts = [registry, ...repository.split('/')];
  return parts.map((_, i) => parts.slice(0, parts.length - i).join('/'));
}

function passwordOf(file: string, name: string, auth: string): Credentials | undefined {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(decoded(file, name, auth)) ?? [];
  if (username === undefined || password === undefined) throw malformed(file, name);
  // Docker once wrote zeros behind it, and takes them away again.
  return credentialsOf(username, password.replace(/^\0+|\0+$/g, ''));
}

/** Some write an identity token as a password. Without a name and a password it is nobody, to whom a registry may be open. */
function credentialsOf(username: string, password: string): Credentials | undefined {
  if (username === '' && password === '') return undefined;
  return username === '<token>' ? { identityToken: password } : { username, password };
}

/** The error says nothing of what is wrong: that would be a part of the secret. */
function decoded(file: string, name: string, auth: string): string {
  try {
    return fromUtf8(fromBase64(auth));
  } catch {
    throw malformed(file, name);
  }
}

function malformed(file: string, name: string): Error {
  return ociError(
    'OCI_CREDENTIALS',
    `In ${file} the credentials for ${name} are no user and password in base64.`,
    {
      pointer: `/auths/${name.replaceAll('~', '~0').replaceAll('/', '~1')}/auth`,
      hint: 'Log in again.',
    },
  );
}

/** Nothing of what is in the file, whatever is wrong with it. */
function unusable(file: string, cause: unknown): Error {
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'not readable';
  return ociError('OCI_CREDENTIALS', `The stored credentials in ${file} can’t be used (${why}).`, {
    hint: 'Mend the file, or log in again.',
  });
}

/** A program's name, not a path of one. */
const HELPER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/**
 * Asks a program that keeps credentials (docker-credential-helpers, `get`): it is told the registry on its standard input.
 * Undefined where it has none.
 */
async function askHelper(
  file: string,
  name: string,
  asked: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!HELPER.test(name)) throw helperFailed(file, program);
  const { failed, output } = await run(program, asked, environment);
  // The helpers have one exit code for everything, and one sentence for this.
  if (failed && output.includes('credentials not found')) return undefined;
  if (failed) throw helperFailed(file, program);
  const { Username, Secret } = helperAnswer(file, program, output);
  return credentialsOf(Username, Secret);
}

function run(program: string, asked: string, env: Environment): Promise<{ failed: boolean; output: Buffer }> {
  return new Promise((resolve) => {
    // Attack: one that does not end when it is asked to.
    const ends = { timeout: HELPER_MS, maxBuffer: MAX_HELPER_ANSWER, killSignal: 'SIGKILL' } as const;
    const options = { env, encoding: 'buffer', ...ends } as const;
    const child = execFile(program, ['get'], options, (error, output) =>
      resolve({ failed: error !== null, output }),
    );
    // Who ends without having listened says so by how it ends.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(asked);
  });
}

function helperAnswer(file: string, program: string, output: Uint8Array): Static<typeof HelperAnswer> {
  try {
    return decodeShape(HelperAnswer, parseJson(output));
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    throw helperFailed(file, program);
  }
}

function helperFailed(file: string, program: string): Error {
  return ociError('OCI_CREDENTIALS', `${program}, which ${file} names, gives no credentials.`, {
    hint: `Is it installed? Try: echo REGISTRY | ${program} get`,
  });
}
