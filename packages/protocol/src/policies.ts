import { DigestSchema, Exact } from '@kallio/codec';
import { Type } from 'typebox';
import { AttesterKind } from './enrolment.ts';
import { route } from './route.ts';

const KindParams = Exact({ kind: AttesterKind });
const SetParams = Exact({ digest: DigestSchema });

/** The appraisal policy in force for one kind of attester. */
export const policyShow = route({
  method: 'GET',
  path: '/v1/policies/:kind',
  access: ['viewer'],
  summary: 'The appraisal policy in force',
  params: KindParams,
  /** `policy` is a `kallio-policy-v1` document. */
  reply: Exact({ kind: AttesterKind, id: Type.String(), digest: DigestSchema, policy: Type.Unknown() }),
});

/**
 * Puts another appraisal policy in force, from the next evidence on. The change stands in the transparency log before it
 * has any effect. Reference sets that the policy names are uploaded first.
 */
export const policyPut = route({
  method: 'PUT',
  path: '/v1/policies/:kind',
  access: ['admin'],
  summary: 'Put another appraisal policy in force',
  params: KindParams,
  body: Type.Unknown(),
  reply: Exact({
    kind: AttesterKind,
    id: Type.String(),
    /** SHA-256 of the policy's JCS. */
    digest: DigestSchema,
    /** The one that was in force before. */
    previous: Type.Optional(DigestSchema),
    /** Where the change stands in the log. */
    logIndex: Type.Integer({ minimum: 0 }),
  }),
});

/** Is a reference set here? Ask before uploading. */
export const referenceSetShow = route({
  method: 'GET',
  path: '/v1/reference-sets/:digest',
  access: ['viewer'],
  summary: 'Is this reference set here?',
  params: SetParams,
  reply: Exact({ digest: DigestSchema, known: Type.Boolean() }),
});

/** PUT: uploads a reference-set file, which is known by its SHA-256. For admins. */
export const REFERENCE_SET_CONTENT = referenceSetShow.path;
/** Content type of a reference-set file. */
export const REFERENCE_SET_TYPE = 'application/vnd.kallio.reference-set';
