import { appraise, namedSets, parsePolicy } from '@kallio/appraisal';
import { imageReference, Machine, machineModel, policyFor } from '@kallio/bench/attester';
import { canonicalize, decodeShape, parseJson, utf8 } from '@kallio/codec';
import { EvidenceMessage } from '@kallio/evidence';
import { Taken, type Target } from '../target.ts';

const NONCE = '5a'.repeat(32);

/** Evidence that is authentic is what the honest machine said, and nothing that was made of it. */
export function appraisal(): Target {
  const model = machineModel(20);
  const machine = new Machine('device-1', model);
  const policy = policyFor(model, 10);
  const honest = machine.first({ purpose: 'attest', nonce: NONCE });
  const said = canonicalize(parseJson(JSON.stringify(honest)));
  return {
    seeds: [utf8(JSON.stringify(honest))],
    take(input) {
      const message = decodeShape(EvidenceMessage, parseJson(input));
      const { authentic, platform } = appraise({
        message,
        expected: { purpose: 'attest', attester: machine.id, nonce: NONCE },
        akPublic: machine.tpm.akPublic,
        endorsement: { kind: 'maker' },
        policy,
        images: imageReference,
        now: new Date(),
      });
      if (platform.state === 'VERIFIED' && canonicalize(parseJson(input)) !== said)
        throw new Taken('evidence that the machine did not give is VERIFIED');
      if (!authentic && platform.state === 'VERIFIED') throw new Taken('VERIFIED without being authentic');
    },
  };
}

/** An appraisal policy. */
export function appraisalPolicy(): Target {
  return {
    seeds: [utf8(JSON.stringify(policyFor(machineModel(3), 3)))],
    take: (input) => namedSets(parsePolicy(parseJson(input))),
  };
}
