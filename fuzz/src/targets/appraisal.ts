import { generateKeyPairSync } from 'node:crypto';
import { inspect } from 'node:util';
import { appraise, earClaims, issueEar, namedSets, parsePolicy } from '@kallio/appraisal';
import { imageReference, Machine, machineModel, policyFor } from '@kallio/bench/attester';
import { canonicalize, decodeShape, fromUtf8, parseJson, utf8 } from '@kallio/codec';
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

/** A signed result that is believed says what the issuer signed. */
export function result(): Target {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'results', alg: 'ES256' }] };
  const model = machineModel(3);
  const machine = new Machine('device-1', model);
  const now = new Date();
  const appraisal = appraise({
    message: machine.first({ purpose: 'attest', nonce: NONCE }),
    expected: { purpose: 'attest', attester: machine.id, nonce: NONCE },
    akPublic: machine.tpm.akPublic,
    policy: policyFor(model, 3),
    images: imageReference,
    now,
  });
  const issuer = 'https://kallio.example';
  const issued = {
    issuer,
    attester: machine.id,
    policyId: 'p',
    issuedAt: now,
    ttlSeconds: 600,
    keyId: 'results',
  };
  const ear = issueEar({ ...issued, appraisal, key: privateKey });
  const read = (text: string) => earClaims(text, { issuer, jwks }, now);
  const honest = inspect(read(ear), { depth: null });
  return {
    seeds: [utf8(ear)],
    take(input) {
      if (inspect(read(fromUtf8(input)), { depth: null }) !== honest)
        throw new Taken('a result that nobody issued');
    },
  };
}
