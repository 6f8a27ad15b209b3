import { directStreams } from '../../src/output/streams.ts';

/* Says so many bytes through each stream that is named, and ends with 3. Told to, it waits for a word first. */

const [length = '', ...args] = process.argv.slice(2);
const streams = directStreams();
// Node's streams have the pipes told not to wait, for everybody who has them.
if (args.includes('shared')) for (const stream of [process.stdout, process.stderr]) stream.write('');
if (args.includes('told')) await new Promise((resolve) => process.stdin.once('data', resolve));
if (args.includes('out')) streams.out('o'.repeat(Number(length)));
if (args.includes('err')) streams.err('e'.repeat(Number(length)));
process.exit(3);
