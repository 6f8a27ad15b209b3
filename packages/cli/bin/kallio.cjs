#!/usr/bin/env node
// @ts-check
'use strict';

/*
 * Starts `kallio` of a checkout: from a bundle of the sources, which is made when there is none of these very sources.
 * To strip the types of a thousand files costs half a second at every start; to see that none of them has changed costs
 * two milliseconds. Plain JavaScript, as the quickest thing that Node can begin with.
 */
const { readFileSync, renameSync, statSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

const ROOT = join(__dirname, '../../..');
const CACHE = join(ROOT, 'node_modules/.cache/kallio');

/**
 * What a file is known again by, without reading it: its content can't change without its inode or its time of change.
 * @param {string} path from the checkout's root
 * @returns {string}
 */
function stateOf(path) {
  const stat = statSync(`${ROOT}/${path}`, { throwIfNoEntry: false });
  return stat === undefined ? 'none' : `${stat.ino} ${stat.size} ${stat.ctimeMs}`;
}

/**
 * The program that was made of the sources as they are; undefined when there is none, or a source has changed since.
 * @param {string} name
 * @returns {string | undefined} its file
 */
function current(name) {
  let text;
  try {
    text = readFileSync(`${CACHE}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
  const [program, ...sources] = text.split('\n');
  for (const source of sources) {
    const at = source.indexOf('\t');
    if (stateOf(source.slice(at + 1)) !== source.slice(0, at)) return undefined;
  }
  return `${CACHE}/${program}`;
}

/**
 * Starts the whole command: file by file, as each is asked for.
 * @param {string} program
 */
function start(program) {
  // Compiled code beside the code that it was compiled from: who may write one may write the other.
  require('node:module').enableCompileCache(`${CACHE}/compiled`);
  require(program);
}

/**
 * Starts a program of one file, which it is to be, with what was compiled of it before: in half the time of a module. That
 * is kept from the first run, and then from the first that was `whole`: one that only said what is wrong with its command
 * line would leave the most to compile to all that come after it.
 * @param {string} program
 * @returns {boolean} whether it is there
 */
function startQuick(program) {
  const compiled = `${program}.${process.version}-${process.arch}`;
  const source = contentOf(program)?.toString('latin1');
  if (source === undefined) return false;
  // Behind the code stands whether it is of a whole run.
  const before = contentOf(compiled);
  const cachedData = before?.subarray(0, -1);
  const script = new Script(`(function (exports, require, module) {${source}\n})`, {
    filename: program,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  const usable = script.cachedDataRejected === false;
  // The class of all modules; to ask node:module for it loads source maps as well.
  const Module = /** @type {typeof import('node:module').Module} */ (module.constructor);
  const require = Module.createRequire(program);
  // It takes a tenth of a start to load, and there is always something to wait for before it is needed.
  const crypto = new Proxy({}, { get: (_, name) => Reflect.get(require('node:crypto'), name) });
  const started = new Module(program);
  process.once('exit', (code) => {
    // To say yes takes all that there is; only help ends alike.
    const whole = code === 0 && !process.argv.some((arg) => arg === '--help' || arg === '-h');
    if (usable && (before?.at(-1) === 1 || !whole)) return;
    keep(compiled, Buffer.concat([script.createCachedData(), Buffer.of(whole ? 1 : 0)]));
  });
  // Its other files, which are loaded where they are needed, ask for it.
  require.cache[program] = started;
  const load = (/** @type {string} */ id) => (id === 'node:crypto' ? crypto : require(id));
  script.runInThisContext()(started.exports, load, started);
  return true;
}

/** @param {string} file */
function contentOf(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/**
 * In one step: who reads it meanwhile has all of it. Where it can't be kept, it is made again.
 * @param {string} file
 * @param {Buffer} bytes
 */
function keep(file, bytes) {
  try {
    writeFileSync(`${file}.${process.pid}`, bytes);
    renameSync(`${file}.${process.pid}`, file);
  } catch {}
}

async function make() {
  const { bundleSources } = await import('../src/bundle/cache.ts');
  const bundle = await bundleSources(CACHE, stateOf);
  if (bundle === undefined) await import('../src/main.ts');
  else start(`${CACHE}/${bundle}/lib/main.js`);
}

/** The command that is asked for, where it is also a program by itself. */
const quick = /^[a-z-]+$/.test(process.argv[2] ?? '') ? current(`current-${process.argv[2]}`) : undefined;
if (quick === undefined || !startQuick(quick)) {
  const program = current('current');
  if (program === undefined) void make();
  else start(program);
}
