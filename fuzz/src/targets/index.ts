import type { MakeTarget } from '../target.ts';
import { appraisal, appraisalPolicy, result } from './appraisal.ts';
import { json } from './codec.ts';
import { eventLog, imaBinary, imaText, measureLog } from './evidence.ts';
import { configuration, fileManifestFile, imageIndex, imageManifest, layer, reference } from './oci.ts';
import { certificates } from './pki.ts';
import {
  bundle,
  claims,
  imagePolicy,
  managedBundle,
  pem,
  provenance,
  statement,
  trustedRoot,
} from './signature.ts';
import { checkpoint, note, tlogProof, verifierKey } from './tlog.ts';
import { attest, context, nvPublic, publicArea, signature } from './tpm.ts';

/** Everything that reads what others wrote, by its name on the command line. */
export const TARGETS: ReadonlyMap<string, MakeTarget> = new Map<string, MakeTarget>([
  ['json', json],
  ['tpm-attest', attest],
  ['tpm-public', publicArea],
  ['tpm-signature', signature],
  ['tpm-context', context],
  ['tpm-nv-public', nvPublic],
  ['event-log', eventLog],
  ['ima-binary', imaBinary],
  ['ima-text', imaText],
  ['measure-log', measureLog],
  ['certificates', certificates],
  ['appraisal', appraisal],
  ['appraisal-policy', appraisalPolicy],
  ['result', result],
  ['note', note],
  ['checkpoint', checkpoint],
  ['tlog-proof', tlogProof],
  ['verifier-key', verifierKey],
  ['reference', reference],
  ['manifest', imageManifest],
  ['index', imageIndex],
  ['configuration', configuration],
  ['file-manifest', fileManifestFile],
  ['layer', layer],
  ['bundle', bundle],
  ['managed-bundle', managedBundle],
  ['statement', statement],
  ['image-policy', imagePolicy],
  ['pem', pem],
  ['trusted-root', trustedRoot],
  ['provenance', provenance],
  ['claims', claims],
]);
