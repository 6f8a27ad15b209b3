import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bareTpmPolicy } from '@kallio/appraisal';
import type { InitOptions } from '../src/index.ts';

/** Policies for swtpm, whose firmware measures nothing, as files for `init`. */
export function policies(dir: string): Pick<InitOptions, 'builderPolicy' | 'devicePolicy'> {
  const write = (kind: 'builder' | 'device') => {
    const path = join(dir, `${kind}.json`);
    writeFileSync(path, JSON.stringify(bareTpmPolicy(`${kind}-test`, kind)));
    return path;
  };
  return { builderPolicy: write('builder'), devicePolicy: write('device') };
}
