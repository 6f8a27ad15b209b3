import type { Row } from '../row.ts';
import { imaReplay } from './ima.ts';
import { inProcess } from './in-process.ts';

/** Appraisal in process, one thread. */
export async function run(): Promise<Row[]> {
  return [...inProcess(), ...imaReplay()];
}
