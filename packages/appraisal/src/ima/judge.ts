import { fromHex, type Refusal, sha256, toHex } from '@kallio/codec';
import { IMA_PCR, ImaReplay, imaBytes, imaEntries, zeroPcr } from '@kallio/evidence';
import { type AppraisalCode, because, refusalOf } from '../codes.ts';
import type { KeptIma } from '../continuity.ts';
import { EntryJudge } from './entries.ts';
import type { ImaFacts, ImaVerdict } from './facts.ts';
import { judgedOtherwise, missing, missingSets } from './refusals.ts';

/** Replays the IMA log from where it was judged last to the quoted PCR 10, and judges its entries. */
export function judgeIma(facts: ImaFacts): ImaVerdict {
  const { shown, quoted, policy } = facts;
  if (policy.missingSets.length > 0) return refused(facts.previous, missingSets(policy));
  // Entries that another policy let pass have to be judged again: from the first one.
  const held = facts.previous?.policy === policy.digest ? facts.previous : undefined;
  // What the machine does not show again was judged by another policy: it can't know that yet, and is to be asked.
  if (shown === undefined && held === undefined && facts.previous !== undefined && policy.ima !== undefined) {
    return refused(facts.previous, judgedOtherwise(facts.previous));
  }
  if (shown === undefined && held === undefined) {
    return { refusals: policy.ima === undefined ? [] : [missing()], explained: false };
  }
  const value = quoted.get(IMA_PCR);
  if (value === undefined) {
    return refused(
      held,
      because('LOG_WITHOUT_QUOTE', `PCR ${IMA_PCR} is not quoted, so nothing proves the IMA log.`, {
        pointer: `pcr:${IMA_PCR}`,
      }),
    );
  }
  const start: KeptIma = held ?? {
    entries: 0,
    pcr: toHex(zeroPcr('sha256')),
    policy: policy.digest,
    unmatched: [],
    overflow: false,
  };
  const from = shown?.from ?? start.entries;
  // Stops entries from being skipped, and a position of an earlier boot from being kept in this one.
  if (from !== start.entries) {
    return refused(
      held,
      because(
        'LOG_POSITION',
        `The IMA log is shown from entry ${from}, but in this boot, by this policy, it was judged up to entry ${start.entries}.`,
        { pointer: '/ima/from', hint: 'Ask for a nonce: its answer says where to go on from.' },
      ),
    );
  }
  try {
    const bytes = shown === undefined ? new Uint8Array() : imaBytes(shown);
    return replay(start, bytes, value, facts);
  } catch (cause) {
    return refused(held, refusalOf(cause, 'IMA_MALFORMED'));
  }
}

/**
 * Takes entries until they lead to the quoted value. A log may be ahead of its quote, by entries that were added between
 * reading and quoting; they prove nothing yet and are to be shown again.
 */
function replay(start: KeptIma, bytes: Uint8Array, value: Uint8Array, facts: ImaFacts): ImaVerdict {
  const judge = new EntryJudge(start, facts);
  const replayed = new ImaReplay('sha256', { entries: start.entries, pcr: fromHex(start.pcr, 32) });
  let reached = replayed.isAt(value);
  let shown = 0;
  const log = imaEntries(bytes, { from: start.entries });
  for (let entry = log(); entry !== undefined; entry = log()) {
    const next = entry.index === start.entries ? toHex(sha256(entry.data)) : undefined;
    // Stops a log that is ahead of its quote for ever: what was shown before the last quote must be in this one.
    if (next !== undefined && start.ahead !== undefined && (next !== start.ahead || reached)) {
      return refused(
        start,
        because(
          'IMA_AHEAD',
          `Entry ${entry.index} of the IMA log was shown before, and no quote covers it.`,
          {
            pointer: `ima:${entry.index}`,
          },
        ),
      );
    }
    if (reached) return judge.finish(replayed.state.pcr, entry);
    shown++;
    replayed.extend(entry);
    judge.take(entry);
    reached = replayed.isAt(value);
  }
  if (!reached && facts.shown?.more === true && shown > 0) return judge.part(replayed.state.pcr);
  if (reached && (shown > 0 || start.ahead === undefined)) return judge.finish(replayed.state.pcr, undefined);
  return refused(
    // Entries that no quote has covered are not gone on from: the log is shown anew from the first one.
    start.entries === 0 || start.unproven === true ? undefined : start,
    // Stops an entry from being cut off, left out, added, changed or moved.
    because('IMA_MISMATCH', `The IMA log does not lead to the PCR ${IMA_PCR} that was quoted.`, {
      pointer: `pcr:${IMA_PCR}`,
    }),
  );
}

function refused(kept: KeptIma | undefined, refusal: Refusal<AppraisalCode>): ImaVerdict {
  return { ...(kept === undefined ? {} : { kept }), refusals: [refusal], explained: false };
}
