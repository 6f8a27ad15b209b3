import { join } from 'node:path';
import { decodeShape, Exact, parseJson } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { readIfThere, writeDurably } from './files.ts';

const EnrolmentFile = Exact({
  attester: Type.String(),
  server: Type.String(),
  /** Name of the AK, hexadecimal. */
  ak: Type.String(),
  /** The challenge that was answered: by it the server knows again whom it admitted. */
  challenge: Type.String(),
});
/** What was admitted: this name, with this key, at this server. */
export type Enrolment = Static<typeof EnrolmentFile>;

/** The challenge by which exactly this was admitted. It only spares a question: the server decides, each time. */
export async function readEnrolment(
  stateDir: string,
  wanted: Omit<Enrolment, 'challenge'>,
): Promise<string | undefined> {
  const bytes = await readIfThere(join(stateDir, 'enrolment.json'));
  if (bytes === undefined) return undefined;
  const kept = decodeShape(EnrolmentFile, parseJson(bytes), 'AGENT_CONFIG', 'enrolment.json');
  const same = kept.attester === wanted.attester && kept.server === wanted.server && kept.ak === wanted.ak;
  return same ? kept.challenge : undefined;
}

/** Remembers an admission. */
export async function writeEnrolment(stateDir: string, enrolment: Enrolment): Promise<void> {
  await writeDurably(join(stateDir, 'enrolment.json'), JSON.stringify(enrolment));
}
