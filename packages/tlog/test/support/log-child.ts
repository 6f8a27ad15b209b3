import { createPrivateKey } from 'node:crypto';
import { writeSync } from 'node:fs';
import { utf8 } from '@kallio/codec';
import { LogWriter } from '../../src/index.ts';

/*
 * Adds entries until it is killed, and writes a line for each that is acknowledged.
 * Arguments: directory, origin, two keys as PEM, a name that makes this run's entries its own.
 */
const [directory = '', origin = '', p256 = '', ed25519 = '', run = ''] = process.argv.slice(2);
const writer = await LogWriter.open(directory, {
  origin,
  keys: { p256: createPrivateKey(p256), ed25519: createPrivateKey(ed25519) },
  now: () => new Date(),
});
for (let round = 0; ; round++) {
  await Promise.all(
    Array.from({ length: 3 }, async (_, i) => {
      const body = `${run}/${round}/${i}`;
      const { logIndex } = await writer.add(utf8(body));
      writeSync(1, `${logIndex} ${body}\n`);
    }),
  );
}
