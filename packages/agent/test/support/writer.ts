import { writeDurably } from '../../src/files.ts';

// A process of its own that writes one file: `often`, which ends, or `for-ever`, which waits to be killed in the middle of it.

const [path = '', how] = process.argv.slice(2);
if (how === 'often') {
  for (let i = 0; i < 200; i++) await writeDurably(path, JSON.stringify({ filler: 'x'.repeat(i * 50) }));
} else {
  await writeDurably(path, 'before');
  process.stdout.write('go');
  for (;;) await writeDurably(path, 'x'.repeat(4_000_000));
}
