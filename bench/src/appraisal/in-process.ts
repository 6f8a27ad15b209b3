import { type KeyObject, randomBytes, verify } from 'node:crypto';
import { type Appraisal, type AppraisalInput, appraise } from '@kallio/appraisal';
import { decodeShape, fromBase64, parseJson, toHex } from '@kallio/codec';
import { EvidenceMessage, parseEventLog, replayEventLog } from '@kallio/evidence';
import { ecdsaDer, parsePublic, parseSignature, publicKeyOf } from '@kallio/tpm/structures';
import { imageReference, Machine, machineModel, policyFor } from '../attester/machine.ts';
import type { Row } from '../row.ts';
import { takeTurns } from '../turns.ts';

const MACHINES = 256;
/** Entries of IMA that were judged before: they cost nothing any more. */
const IMA_ENTRIES = 1000;
const OTHER_FILES = 50_000;
const TURNS = { batch: MACHINES, rounds: 60 };

/**
 * Steady-state evidence of many machines, each with its own key, beside the verification of their signatures alone; and
 * the steps around it that are not in that figure.
 */
export function inProcess(): Row[] {
  const model = machineModel(IMA_ENTRIES);
  const policy = policyFor(model, OTHER_FILES);
  const cases = Array.from({ length: MACHINES }, (_, index) => {
    const machine = new Machine(`device-${index}`, model);
    const ask = (message: (nonce: string) => EvidenceMessage, previous?: Appraisal): AppraisalInput => {
      const nonce = toHex(randomBytes(32));
      return {
        message: message(nonce),
        expected: { purpose: 'attest', attester: machine.id, nonce },
        akPublic: machine.tpm.akPublic,
        endorsement: { kind: 'maker' },
        ...(previous?.next === undefined ? {} : { previous: previous.next }),
        policy,
        images: imageReference,
        now: new Date(),
      };
    };
    const first = appraise(ask((nonce) => machine.first({ purpose: 'attest', nonce })));
    return mustVerify(ask((nonce) => machine.steady({ purpose: 'attest', nonce }), first));
  });
  const signed = cases.map(signatureOf);
  const texts = cases.map(({ message }) => JSON.stringify(message));
  // Two and two: what the reading of texts leaves behind is not for the others to clear away.
  const [appraisal = 0, signature = 0] = takeTurns(
    [(i) => appraise(at(cases, i)), (i) => verified(at(signed, i))],
    TURNS,
  );
  const [reading = 0, parsing = 0] = takeTurns(
    [(i) => decodeShape(EvidenceMessage, parseJson(at(texts, i))), (i) => JSON.parse(at(texts, i))],
    TURNS,
  );
  const perSecond = 1e6 / appraisal;
  const ratio = signature / appraisal;
  const log = model.firmware.bytes;
  const [replay = 0] = takeTurns([() => replayEventLog(parseEventLog(log), 'sha256')], TURNS);
  return [
    {
      name: `appraisal of steady-state evidence, in process: signature, binding, PCR digest, boot, event log of ${model.firmware.events.length} events kept, IMA, instance log, inventory, policy, digest of the message (${texts[0]?.length} bytes); without reading the JSON and signing the result`,
      figure: perSecond,
      unit: '/s',
      beside: 'P-256 verification alone',
      besideFigure: 1e6 / signature,
      ratio,
      bar: 'figure >= 8000 and ratio >= 0.5',
      holds: perSecond >= 8000 && ratio >= 0.5,
    },
    {
      name: 'reading steady-state evidence: strict JSON and shape',
      figure: 1e6 / reading,
      unit: '/s',
      beside: 'JSON.parse, which checks neither',
      besideFigure: 1e6 / parsing,
      ratio: parsing / reading,
      bar: 'figure >= 8000',
      holds: 1e6 / reading >= 8000,
    },
    eventLogRow(model.firmware.events.length, replay),
  ];
}

/** Reading and replaying a boot log, beside what one may cost. */
function eventLogRow(events: number, us: number): Row {
  const perSecond = (events * 1e6) / us;
  return {
    name: `event log read and replayed (${events} events)`,
    figure: perSecond,
    unit: 'events/s',
    beside: 'what a boot log may cost: 1 ms',
    besideFigure: events * 1000,
    ratio: perSecond / (events * 1000),
    bar: 'ratio >= 1',
    holds: perSecond >= events * 1000,
  };
}

function mustVerify(input: AppraisalInput): AppraisalInput {
  const { platform, instances } = appraise(input);
  const states = [platform.state, ...[...instances.values()].map(({ state }) => state)];
  if (states.some((state) => state !== 'VERIFIED')) {
    throw new Error(`what is measured must be VERIFIED: ${states} ${JSON.stringify(platform.refusals)}`);
  }
  return input;
}

interface Signed {
  readonly key: KeyObject;
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array;
}

function signatureOf({ message: { quote }, akPublic }: AppraisalInput): Signed {
  return {
    key: publicKeyOf(parsePublic(akPublic)),
    bytes: fromBase64(quote.attest),
    signature: ecdsaDer(parseSignature(fromBase64(quote.signature))),
  };
}

function verified({ key, bytes, signature }: Signed): void {
  if (!verify('sha256', bytes, key, signature)) throw new Error('a signature of the benchmark does not hold');
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new Error(`there is no item ${index}`);
  return item;
}
