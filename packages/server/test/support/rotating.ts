import { rotateResultKeys } from '../../src/setup/result-keys.ts';

/* A process that rotates a server's result keys three times, and prints what they are called. */

const [dataDir = ''] = process.argv.slice(2);
for (let i = 0; i < 3; i++) console.log(rotateResultKeys(dataDir, new Date()));
