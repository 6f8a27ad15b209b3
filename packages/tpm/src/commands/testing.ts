import { Writer } from '@kallio/codec';
import { decodeResponseCode, type ResponseCode } from '../response-code.ts';
import { copySized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_SelfTest (Part 3 section 10.2). */
export async function selfTest(tpm: Tpm, full: boolean): Promise<void> {
  const parameters = new Writer(1).u8(full ? 1 : 0).finish();
  (await tpm.execute({ name: 'TPM2_SelfTest', code: 0x143, parameters })).parameters.end('TPM2_SelfTest');
}

/** The outcome of the self-test; a code of 0 is success. `data` is the maker's own. */
export interface TestResult {
  readonly data: Uint8Array;
  readonly result: ResponseCode;
}

/** TPM2_GetTestResult (Part 3 section 10.4): answered in failure mode too. */
export async function getTestResult(tpm: Tpm): Promise<TestResult> {
  const { parameters } = await tpm.execute({ name: 'TPM2_GetTestResult', code: 0x17c });
  const data = copySized(parameters, 2048, 'The test’s data');
  const code = parameters.u32('The test’s result');
  parameters.end('TPM2_GetTestResult');
  return { data, result: decodeResponseCode(code) };
}
