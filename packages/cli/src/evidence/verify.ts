import {
  type AppraisalPolicy,
  appraiseQuote,
  type BootState,
  type Endorsement,
  type QuoteAppraisal,
  type ReferenceSets,
  type State,
  type Tier,
} from '@kallio/appraisal';
import { KallioError, type Refusal, toBase64, toHex } from '@kallio/codec';
import { type OfferedPcrs, readImaText, writeImaLog } from '@kallio/evidence';
import { checkAk, type TpmtPublic } from '@kallio/tpm/structures';
import { type AkFile, readAk } from '../tpm2-tools/ak.ts';
import { attestOf } from '../tpm2-tools/message.ts';
import { readPcrFile } from '../tpm2-tools/pcrs.ts';
import { signatureOf } from '../tpm2-tools/signature.ts';
import { refusedStep, STEPS, type Step, type StepName, stepOf } from './steps.ts';

/** Evidence as bytes of files. */
export interface EvidenceFiles {
  readonly ak: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly pcrs: Uint8Array;
  readonly nonce: Uint8Array;
  readonly eventLog?: Uint8Array;
  /** Binary or ASCII. */
  readonly ima?: Uint8Array;
  readonly policy?: AppraisalPolicy;
  /** The reference sets that the policy names. */
  readonly sets?: ReferenceSets;
  readonly endorsement?: Endorsement;
}

/** What they came to. */
export interface Verification {
  readonly steps: readonly Step[];
  /** True when the AK signed the quote, for this nonce, over these PCR values. */
  readonly authentic: boolean;
  readonly state: State;
  readonly tier?: Tier;
  readonly refusals: readonly Refusal[];
  readonly limits: readonly string[];
  readonly boot?: BootState;
}

/** Nonces shorter than this are guessed, or come again. */
const GOOD_NONCE = 16;

/**
 * Judges evidence in files as the server judges an evidence message: by the same functions, to the same codes. Throws
 * `CLI_…` for files that can't be used at all, and `IMA_…` for a text list that can't be read back.
 */
export function verifyEvidence(files: EvidenceFiles): Verification {
  const ak = readAk(files.ak);
  const attest = attestOf(files.message);
  const pcrs = readPcrFile(files.pcrs, attest);
  const signature = signatureOf(files.signature, ak.key, attest);
  const limits = limitsOf(ak, files.nonce);
  const unfit = ak.showsProperties ? refusalOf(() => checkAk(ak.key)) : undefined;
  // Stops a key that signs whatever it is given from standing for a TPM: then the quote shows nothing at all.
  if (unfit !== undefined) {
    const steps = account(new Map([['AK', [refusedStep(unfit, 'AK')]]]), 'AK');
    return { steps, authentic: false, state: 'UNKNOWN', refusals: [unfit], limits };
  }
  const { eventLog, ima, policy, sets, endorsement } = files;
  const appraisal = appraiseQuote({
    quote: { attest: toBase64(attest), signature: toBase64(signature) },
    pcrs,
    akPublic: ak.publicArea,
    qualifyingData: files.nonce,
    ...(eventLog === undefined ? {} : { eventLog: toBase64(eventLog) }),
    ...(ima === undefined ? {} : { ima: { from: 0, entries: binaryIma(ima) } }),
    ...(policy === undefined ? {} : { policy }),
    ...(sets === undefined ? {} : { sets }),
    ...(endorsement === undefined ? {} : { endorsement }),
  });
  const { authentic, platform, boot } = appraisal;
  return {
    steps: stepsOf(appraisal, ak, files, pcrs),
    authentic,
    state: platform.state,
    ...(platform.tier === undefined ? {} : { tier: platform.tier }),
    refusals: platform.refusals,
    limits: [...platform.limits, ...limits],
    ...(boot === undefined ? {} : { boot }),
  };
}

/** The kernel’s binary list begins with PCR 10 as a little-endian number; the text one with its digits. */
function binaryIma(bytes: Uint8Array): Uint8Array {
  const isText = bytes[0] === 0x31 && bytes[1] === 0x30 && bytes[2] === 0x20;
  return isText ? writeImaLog(readImaText(Buffer.from(bytes).toString('utf8'))) : bytes;
}

function stepsOf(
  { authentic, platform, replayed, boot }: QuoteAppraisal,
  ak: AkFile,
  { nonce, eventLog, ima, policy }: EvidenceFiles,
  pcrs: readonly OfferedPcrs[],
): Step[] {
  const refused = Map.groupBy(
    platform.refusals.map((refusal) => refusedStep(refusal, stepOf(refusal))),
    ({ step }) => step,
  );
  const found = new Map<StepName, readonly Step[]>([['AK', [ok('AK', describeKey(ak))]]]);
  found.set('signature', [ok('signature', 'It is that key’s, over the message.')]);
  const started = boot === undefined ? '' : `boot ${boot.resetCount}, restart ${boot.restartCount}, `;
  found.set('message', [
    ok('message', `A quote that a TPM made: ${started}clock ${boot?.clock ?? 0} ms${safety(boot)}.`),
  ]);
  found.set('nonce', [ok('nonce', `It answers ${toHex(nonce)}.`)]);
  found.set('selection', [ok('selection', `What was quoted is what is judged: ${describeSelection(pcrs)}.`)]);
  found.set('PCR values', [ok('PCR values', 'They are those that the TPM signed.')]);
  found.set('event log', [
    eventLog === undefined
      ? skipped('event log', 'None is shown.')
      : ok('event log', `Its ${replayed.events ?? 0} events lead to the quoted PCRs.`),
  ]);
  found.set('IMA log', [
    ima === undefined
      ? skipped('IMA log', 'None is shown.')
      : ok('IMA log', `${replayed.imaEntries ?? 0} entries lead to the quoted PCR 10.`),
  ]);
  found.set('policy', [ok('policy', `Everything is as ${policy?.id ?? 'the policy'} has it.`)]);
  for (const [step, lines] of refused) found.set(step, lines);
  return account(found, authentic ? undefined : [...refused.keys()][0]);
}

/** Every step in order; those after `last` were not reached. */
function account(found: ReadonlyMap<StepName, readonly Step[]>, last: StepName | undefined): Step[] {
  const end = last === undefined ? STEPS.length : STEPS.indexOf(last);
  return STEPS.flatMap((step, place) =>
    place > end ? [skipped(step, 'Not reached.')] : (found.get(step) ?? []),
  );
}

function ok(step: StepName, message: string): Step {
  return { step, status: 'ok', message };
}

function skipped(step: StepName, message: string): Step {
  return { step, status: 'skipped', message };
}

function refusalOf(check: () => void): Refusal | undefined {
  try {
    check();
    return undefined;
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return cause.toJSON();
  }
}

function describeKey({ key, showsProperties }: AkFile): string {
  const what = nameOf(key);
  return showsProperties
    ? `${what}, restricted, made in its TPM and bound to it.`
    : `${what}. A PEM key does not show whether a TPM holds it.`;
}

function nameOf(key: TpmtPublic): string {
  if (key.type === 'rsa') return `RSA ${key.keyBits}`;
  return key.type === 'ecc' ? `ECC ${key.curve}` : 'A keyed-hash object';
}

function describeSelection(pcrs: readonly OfferedPcrs[]): string {
  return pcrs.map(({ bank, values }) => `${bank}:${Object.keys(values).join(',')}`).join('+');
}

function safety(boot: BootState | undefined): string {
  return boot?.safe === false ? ', which may have gone back at a power cut' : '';
}

function limitsOf({ showsProperties }: AkFile, nonce: Uint8Array): string[] {
  const limits = [
    'Whose AK this is was not looked at: an enrolment shows that, by the EK’s certificate.',
    'A quote by itself has no history: a TPM whose state was rolled back is not noticed.',
  ];
  if (!showsProperties) {
    limits.push(
      'The AK is a PEM key: nothing shows that it is restricted, or in a TPM at all. Give TPM2B_PUBLIC instead.',
    );
  }
  if (nonce.length < GOOD_NONCE) {
    limits.push(`The nonce has ${nonce.length} bytes: one of under ${GOOD_NONCE} may come again.`);
  }
  return limits;
}
