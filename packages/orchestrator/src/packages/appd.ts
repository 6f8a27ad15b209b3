import { decodeShape } from '@kallio/codec';
import { parseReference } from '@kallio/oci';
import { type Static, Type } from 'typebox';
import { type OrchestratorCode, orchestratorError } from '../error.ts';

const Name = Type.String({ minLength: 1, maxLength: 128 });

/**
 * What is read of an application descriptor (ETSI GS MEC 010-2 v2.1.1, clause 6.2.1.2). The standard's other fields may
 * stand there; nothing is done with them.
 */
export const AppD = Type.Object({
  appDId: Name,
  appName: Name,
  appProvider: Name,
  appSoftVersion: Name,
  appDVersion: Name,
  mecVersion: Type.Array(Name, { minItems: 1, maxItems: 16 }),
  appDescription: Type.String({ maxLength: 4096 }),
  /** ETSI GS NFV-IFA 011, VirtualComputeDesc; memory in MB. */
  virtualComputeDescriptor: Type.Object({
    virtualCpu: Type.Object({ numVirtualCpu: Type.Number({ minimum: 0.01, maximum: 1024 }) }),
    virtualMemory: Type.Object({ virtualMemSize: Type.Number({ minimum: 4, maximum: 1_048_576 }) }),
  }),
  swImageDescriptor: Type.Object({
    /** Where the image is: `registry/repository:tag` or `…@sha256:…`. */
    swImage: Type.String({ minLength: 1, maxLength: 512 }),
  }),
});
export type AppD = Static<typeof AppD>;

/** The descriptor in a document; `APPD_INVALID` says where it is wrong. */
export function parseAppD(json: unknown): AppD {
  const appd = decodeShape(
    AppD,
    json,
    'APPD_INVALID' satisfies OrchestratorCode,
    'The application descriptor',
  );
  try {
    parseReference(appd.swImageDescriptor.swImage);
  } catch (cause) {
    throw orchestratorError('APPD_INVALID', 'The application descriptor names no image.', {
      pointer: '/swImageDescriptor/swImage',
      hint: 'Write registry/repository:tag or registry/repository@sha256:…, the registry with its host name.',
      cause,
    });
  }
  return appd;
}
