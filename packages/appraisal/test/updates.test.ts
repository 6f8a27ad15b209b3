import { describe, expect, it } from 'vitest';
import {
  type Appraisal,
  type AppraisalPolicy,
  type Continuity,
  continuityFromJson,
  continuityToJson,
  parsePolicy,
} from '../src/index.ts';
import { codes } from './support/appraise.ts';
import { BOOT, bootLoader, digestOfFile, FILES, MACHINE_POLICY, Machine } from './support/machine.ts';

const NEXT_BOOT = BOOT.with(-2, bootLoader('boot loader 2'));
const NEXT_FILES = [...FILES, { name: '/usr/bin/ls', file: 'the next ls' }];

/** The machine's policy, with an update announced. */
function announcing(boots: number, id = 'update-2'): AppraisalPolicy {
  const values = [{ name: 'boot loader 2', digest: digestOfFile('boot loader 2') }];
  return parsePolicy({
    ...MACHINE_POLICY,
    updates: [
      {
        id,
        boots,
        reference: {
          boot: [{ pcr: 4, class: 'boot-loader', values }],
          ima: [{ class: 'programs', digests: [digestOfFile('the next ls')] }],
        },
      },
    ],
  });
}

/** A machine and what a verifier keeps of it, through a store each time. */
class Watched {
  readonly machine = new Machine();
  kept: Continuity | undefined;

  see(policy: AppraisalPolicy): Appraisal {
    const appraisal = this.machine.appraise(
      this.kept === undefined ? { policy } : { policy, previous: this.kept },
    );
    if (appraisal.next === undefined) throw new Error('authentic evidence leaves something to keep');
    this.kept = continuityFromJson(continuityToJson(appraisal.next));
    return appraisal;
  }
}

describe('an announced update', () => {
  it('is accepted in its window, named with what it was used for, and stays', () => {
    const one = new Watched();
    const policy = announcing(2);
    const before = one.see(policy).platform;
    expect(before).toMatchObject({ state: 'VERIFIED', updates: [{ state: 'announced', bootsLeft: 2 }] });
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    const { platform } = one.see(policy);
    expect(platform).toMatchObject({
      state: 'VERIFIED',
      tier: 'B',
      updates: [{ id: 'update-2', state: 'in-use', used: ['event:16', 'ima:4'] }],
    });
    expect(platform.limits.join(' ')).toContain('Update update-2 is in use: event:16, ima:4');
    // Also where nothing new is shown, and long after its window.
    expect(one.see(policy).platform.updates).toMatchObject([{ state: 'in-use' }]);
    for (let boot = 0; boot < 5; boot++) {
      one.machine.reboot(NEXT_BOOT, NEXT_FILES);
      expect(one.see(policy).platform).toMatchObject({ state: 'VERIFIED', updates: [{ state: 'in-use' }] });
    }
  });

  it('may be rolled back to the values before it, and used again', () => {
    const one = new Watched();
    const policy = announcing(1);
    one.see(policy);
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    expect(one.see(policy).platform.updates).toMatchObject([{ state: 'in-use' }]);
    one.machine.reboot();
    expect(one.see(policy).platform).toMatchObject({
      state: 'VERIFIED',
      updates: [{ state: 'rolled-back' }],
    });
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    expect(one.see(policy).platform).toMatchObject({ state: 'VERIFIED', updates: [{ state: 'in-use' }] });
  });

  it('that was not announced is refused', () => {
    const one = new Watched();
    one.see(MACHINE_POLICY);
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    const { platform } = one.see(MACHINE_POLICY);
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals.map(({ code }) => code)).toEqual([
      'EVENT_UNKNOWN',
      'EVENT_MISSING',
      'IMA_FILE_UNKNOWN',
    ]);
  });

  it('lapses after its boots, counted by the TPM and not by evidence, and is refused by its own codes', () => {
    const one = new Watched();
    const policy = announcing(2);
    one.see(policy);
    // Two boots that nobody saw, and the third is past the window.
    for (let boot = 0; boot < 3; boot++) one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    const late = one.see(policy);
    expect(late.platform.state).toBe('VIOLATED');
    expect(codes(late)).toEqual(['EVENT_LAPSED', 'EVENT_MISSING', 'IMA_FILE_LAPSED']);
    expect(late.platform.updates).toMatchObject([{ state: 'lapsed' }]);
    // The values before it are as good as ever, and it does not come back by waiting.
    one.machine.reboot();
    expect(one.see(policy).platform).toMatchObject({ state: 'VERIFIED', updates: [{ state: 'lapsed' }] });
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    expect(codes(one.see(policy))).toContain('EVENT_LAPSED');
    // Announced anew under another id it is accepted.
    const anew = announcing(2, 'update-2b');
    one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    expect(one.see(anew).platform.state).toBe('VERIFIED');
  });

  it('is accepted in the last boot of its window', () => {
    const one = new Watched();
    const policy = announcing(2);
    one.see(policy);
    for (let boot = 0; boot < 2; boot++) one.machine.reboot(NEXT_BOOT, NEXT_FILES);
    expect(one.see(policy).platform.state).toBe('VERIFIED');
  });

  it('is not used by entries that no quote covers', () => {
    const one = new Watched();
    const policy = announcing(1);
    one.see(policy);
    one.machine.reboot(BOOT, FILES);
    const honest = one.machine.imaLog();
    one.machine.reboot(BOOT, NEXT_FILES.toReversed());
    const forged = one.machine.imaLog();
    one.machine.reboot(BOOT, FILES);
    const start = one.kept;
    if (start === undefined) throw new Error('kept');
    const asked = { policy: announcing(5), previous: start };
    const shown = one.machine.appraise(asked, { ima: forged });
    expect(codes(shown)).toContain('IMA_MISMATCH');
    expect(shown.next?.updates).toEqual([{ id: 'update-2', since: 7 }]);
    expect(one.machine.appraise(asked, { ima: honest }).platform.state).toBe('VERIFIED');
  });

  it('brings a whole value of a PCR, too', () => {
    const machine = new Machine();
    machine.extend(12, new Uint8Array(32).fill(1));
    const value = Buffer.from(machine.value(12)).toString('hex');
    const policy = parsePolicy({
      ...MACHINE_POLICY,
      updates: [{ id: 'stub', boots: 1, reference: { pcrs: { 12: [value] } } }],
    });
    expect(codes(machine.appraise())).toEqual(['PCR_MISMATCH']);
    expect(machine.appraise({ policy }).platform).toMatchObject({
      state: 'VERIFIED',
      updates: [{ state: 'in-use', used: ['pcr:12'] }],
    });
  });
});
