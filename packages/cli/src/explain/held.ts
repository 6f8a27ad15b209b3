import { fromBase64, toHex } from '@kallio/codec';
import { readImaLog } from '@kallio/evidence';
import { nameOf } from '@kallio/tpm/structures';
import type { Derived } from './derive.ts';

/** A check that evidence went through. */
export interface Held {
  readonly check: string;
  readonly held: boolean;
}

const QUOTE = /^(?:QUOTE_|PCR_(?:DIGEST|MISSING|NOT_QUOTED|BANK)|EVIDENCE_)/;
const BOOT = /^(?:RESET_COUNT|RESTART_COUNT|CLOCK_|FIRMWARE_VERSION)/;

/** What was checked, in the order in which it was, each with whether it held. What was never come to is left out. */
export function checks(derived: Derived): Held[] {
  const { appraisal, message, previous, basis, policy } = derived;
  const codes = appraisal.platform.refusals.map(({ code }) => code);
  const none = (pattern: RegExp) => !codes.some((code) => pattern.test(code));
  const ak = toHex(nameOf(fromBase64(basis.ak)));
  const list: Held[] = [
    {
      check: `the quote is signed by the enrolled AK ${ak.slice(0, 16)}…`,
      held: none(/^QUOTE_(?:MAL|MAG|TYPE|SIG)/),
    },
  ];
  if (none(/^QUOTE_(?:MAL|MAG|TYPE|SIG)/)) {
    list.push({
      check: `it answers this server’s nonce, for ${message.purpose}, over the digests of every part shown`,
      held: none(/^(?:QUOTE_BINDING|EVIDENCE_)/),
    });
    const quoted = policy.pcrs.toSorted((a, b) => a - b).join(', ');
    list.push({ check: `the PCR values shown are those that were signed: ${quoted}`, held: none(QUOTE) });
  }
  if (!appraisal.authentic) return list;
  list.push({
    check:
      previous === undefined
        ? 'boot and clock: nothing was kept to compare with'
        : `boot and clock go on from boot ${previous.boot.resetCount}.${previous.boot.restartCount}`,
    held: none(BOOT),
  });
  if (!none(BOOT)) return list;
  const { next } = appraisal;
  if (next?.eventLog !== undefined) {
    const shown = message.eventLog === undefined ? 'shown earlier in this boot' : 'shown now';
    list.push({
      check: `the firmware’s event log (${next.eventLog.events.length} events, ${shown}) leads to the quoted PCRs`,
      held: none(/^EVENTLOG_/),
    });
    list.push({ check: 'its events have reference values', held: none(/^EVENT_/) });
  }
  if (next?.ima !== undefined || message.ima !== undefined) {
    const shown = message.ima === undefined ? 0 : [...readImaLog(fromBase64(message.ima.entries))].length;
    list.push({
      check: `the IMA log (${next?.ima?.entries ?? 0} entries, ${shown} of them shown now) leads to PCR 10`,
      held: none(/^(?:IMA_(?:MISMATCH|AHEAD|MAL|PCR|TEMPLATE|TOO)|LOG_)/),
    });
    list.push({ check: 'its files have reference values', held: none(/^(?:IMA_|REFERENCE_SET)/) });
  }
  list.push({
    check: `the instance log (${next?.instanceLog.entries ?? 0} entries, ${message.instanceLog.entries.length} of them shown now) leads to PCR 14`,
    held: none(/^(?:INSTANCE_LOG_|LOG_)/),
  });
  list.push({ check: 'every other PCR has a reference value, or a reason why not', held: none(/^PCR_/) });
  list.push({ check: 'nothing runs that stands in no log', held: none(/^PLATFORM_RUNS_UNLOGGED/) });
  list.push({ check: `tier ${appraisal.platform.tier ?? '-'} suffices`, held: none(/^TIER_/) });
  return list;
}
