import { writeDurably } from '../../src/files.ts';

/* A process that writes one file again and again: so often and then ends, or until it is killed. */

const [file = '', filler = '', times] = process.argv.slice(2);
await writeDurably(file, JSON.stringify({ filler: '' }));
process.stdout.write('begun');
for (let i = 0; i < Number(times ?? Infinity); i++) {
  await writeDurably(
    file,
    JSON.stringify({ filler: filler.repeat(times === undefined ? 4_000_000 : i * 50) }),
  );
}
