import { fromUtf8, type Json, KallioError, parseJson } from '@kallio/codec';
import { parseImagePolicy, verifyImage } from '@kallio/signature';
import type { Context } from '../context.ts';
import { readJson } from '../files.ts';
import { namedImage } from '../images.ts';
import { valueAt } from './pointer.ts';
import { wantsOf } from './wants.ts';

/** From an image policy's verdict to the claim or rule that decided it, and what to do next. */
export async function explainImage(context: Context, image: string, policyFile: string): Promise<void> {
  const document = readJson(policyFile);
  const policy = parseImagePolicy(document);
  const named = await namedImage(image);
  const verdict = await verifyImage(named.reference, await named.open(), policy, new Date());
  const { refusal, steps } = verdict;
  const wants = wantsOf(policy, steps, refusal);
  const shows =
    verdict.ok || verdict.refusal.pointer === undefined
      ? []
      : shownAt(verdict.refusal.pointer, document, statementOf(verdict.payload));
  context.exit = verdict.ok ? 0 : 1;
  const why =
    refusal === undefined
      ? []
      : [
          `  ${refusal.code}: ${refusal.message}`,
          ...(refusal.pointer === undefined ? [] : [`  at ${refusal.pointer}`]),
          ...shows.map((line) => `    ${line}`),
          ...(refusal.hint === undefined ? [] : [`  ${refusal.hint}`]),
        ];
  const mark = (held: boolean | undefined) => (held === undefined ? '–' : held ? '✔' : '✘');
  context.output.result(
    {
      ok: verdict.ok,
      image,
      ...(refusal === undefined ? {} : { refusal: { ...refusal, shows } }),
      wants,
      steps,
    },
    [
      `${image}: ${verdict.ok ? 'may run' : 'REFUSED'}`,
      ...why,
      '',
      'What the policy wants',
      ...wants.map(({ rule, wants: said, held }) => `  ${mark(held)} ${rule.padEnd(20)} ${said}`),
      '',
      'Step by step',
      ...steps.map(({ step, ok, detail }) => `  ${mark(ok)} ${step.padEnd(13)} ${detail}`),
    ].join('\n'),
  );
}

const POLICY = 'policy:';

/** What a refusal points to: a rule of the policy, or a claim of the statement. */
function shownAt(pointer: string, policy: Json, statement: Json | undefined): string[] {
  if (pointer.startsWith(POLICY)) return valueAt(pointer.slice(POLICY.length), policy);
  return statement === undefined ? [] : valueAt(pointer, statement);
}

/** The statement as it was refused: nothing in it is believed, it is shown. */
function statementOf(payload: Uint8Array | undefined): Json | undefined {
  if (payload === undefined) return undefined;
  try {
    return parseJson(fromUtf8(payload));
  } catch (error) {
    if (error instanceof KallioError) return undefined;
    throw error;
  }
}
