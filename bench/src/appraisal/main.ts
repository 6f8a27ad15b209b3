import type { Row } from '../row.ts';
import { overHttps } from './https.ts';
import { imaReplay } from './ima.ts';
import { inProcess } from './in-process.ts';

/** Appraisal: in process on one thread, and whole cycles over HTTPS. */
export async function run(): Promise<Row[]> {
  return [...inProcess(), ...imaReplay(), ...(await overHttps())];
}
