import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { HANDLE } from '../handles.ts';
import { handleOf, type Reference } from '../reference.ts';
import { marshalContext, parseContext, type SavedContext } from '../structures/context.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_ContextSave (Part 3 section 28.2): an object stays loaded; a session leaves its slot. */
export async function contextSave(tpm: Tpm, reference: Reference): Promise<SavedContext> {
  const parameters = { name: 'TPM2_ContextSave', code: 0x162, handles: [reference] };
  return parseContext((await tpm.execute(parameters)).parameters.rest());
}

/** TPM2_ContextLoad (Part 3 section 28.3); gives the handle. */
export async function contextLoad(tpm: Tpm, context: SavedContext): Promise<number> {
  const response = await tpm.execute({
    name: 'TPM2_ContextLoad',
    code: 0x161,
    parameters: marshalContext(context),
    returnsHandle: true,
  });
  response.parameters.end('TPM2_ContextLoad');
  return response.handle;
}

/** TPM2_FlushContext (Part 3 section 28.4). */
export async function flushContext(tpm: Tpm, reference: Reference): Promise<void> {
  const parameters = new Writer(4).u32(handleOf(reference)).finish();
  const response = await tpm.execute({ name: 'TPM2_FlushContext', code: 0x165, parameters });
  response.parameters.end('TPM2_FlushContext');
}

/**
 * TPM2_EvictControl (Part 3 section 28.5), authorized by the owner. A transient object becomes persistent at `persistent`
 * (0x81000000 to 0x817FFFFF); a persistent object that stands there is removed.
 */
export async function evictControl(
  tpm: Tpm,
  object: Reference,
  persistent: number,
  protection: Protection = {},
): Promise<void> {
  const response = await tpm.execute({
    name: 'TPM2_EvictControl',
    code: 0x120,
    handles: [HANDLE.owner, object],
    ...protect(protection, 1),
    parameters: new Writer(4).u32(persistent).finish(),
  });
  response.parameters.end('TPM2_EvictControl');
}
