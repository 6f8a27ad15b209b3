import { rotateResultKeys } from '../src/setup/result-keys.ts';

// A process of its own that rotates the result-signing keys of the data folder that it is given, three times.

const [dataDir = ''] = process.argv.slice(2);
for (let i = 0; i < 3; i++) process.stdout.write(`${rotateResultKeys(dataDir, new Date())}\n`);
