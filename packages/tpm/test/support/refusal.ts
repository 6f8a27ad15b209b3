import { KallioError } from '@kallio/codec';

/** The code that `act` is refused with; undefined where it is not refused. */
export async function codeOf(act: Promise<unknown> | (() => unknown)): Promise<string | undefined> {
  return (await refusalOf(act))?.code;
}

/** The refusal of `act`; undefined where it is not refused. Another error is passed on. */
export async function refusalOf(act: Promise<unknown> | (() => unknown)): Promise<KallioError | undefined> {
  try {
    await (typeof act === 'function' ? act() : act);
  } catch (error) {
    if (error instanceof KallioError) return error;
    throw error;
  }
  return undefined;
}
