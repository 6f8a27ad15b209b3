import { cliError } from '../output/output.ts';

const BANKS = ['sha1', 'sha256', 'sha384', 'sha512'] as const;

/** A PCR bank. */
export type Bank = (typeof BANKS)[number];

/** The bank that a flag names; another is `USAGE`. */
export function bankOf(flag: string): Bank {
  const bank = BANKS.find((one) => one === flag);
  if (bank === undefined) {
    throw cliError('USAGE', `There is no bank ${flag}.`, `Banks are ${BANKS.join(', ')}.`);
  }
  return bank;
}
