#!/usr/bin/env node
// @ts-check
'use strict';

/*
 * Starts `kallio` of a checkout: from a bundle of the sources, which is made when there is none of these very sources.
 * To strip the types of a thousand files costs half a second at every start; to see that none of them has changed costs
 * two milliseconds. Plain JavaScript, as the quickest thing that Node can begin with.
 */
const { readFileSync, statSync } = require('node:fs');
const { enableCompileCache } = require('node:module');
const { join } = require('node:path');

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
 * The bundle that was made of the sources as they are; undefined when there is none, or a source has changed since.
 * @returns {string | undefined}
 */
function current() {
  let text;
  try {
    text = readFileSync(`${CACHE}/current`, 'utf8');
  } catch {
    return undefined;
  }
  const [bundle, ...sources] = text.split('\n');
  for (const source of sources) {
    const at = source.indexOf('\t');
    if (stateOf(source.slice(at + 1)) !== source.slice(0, at)) return undefined;
  }
  return bundle;
}

/** @param {string} bundle */
function start(bundle) {
  // Compiled code beside the code that it was compiled from: who may write one may write the other.
  enableCompileCache(`${CACHE}/compiled`);
  require(`${CACHE}/${bundle}/lib/main.js`);
}

async function make() {
  const { bundleSources } = await import('../src/bundle/cache.ts');
  const bundle = await bundleSources(CACHE, stateOf);
  if (bundle === undefined) await import('../src/main.ts');
  else start(bundle);
}

const bundle = current();
if (bundle === undefined) void make();
else start(bundle);
