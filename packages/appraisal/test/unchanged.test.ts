import type { EvidenceMessage, Inventory } from '@kallio/evidence';
import { describe, expect, it } from 'vitest';
import {
  type Appraisal,
  type AppraisalInput,
  type Continuity,
  continuityFromJson,
  continuityToJson,
} from '../src/index.ts';
import { judge, POLICY } from './support/appraise.ts';
import { question, SERVER, SHELL, SoftwareAttester } from './support/attester.ts';

const RUNNING: Inventory = {
  scope: 'machine',
  containers: [{ container: 'c1', processes: [{ pid: 100, executable: '/bin/server', sha256: SERVER }] }],
  changed: [],
};

/** An attester that runs an instance, and was judged three times with nothing happening in between. */
class Steady {
  readonly attester = new SoftwareAttester();
  readonly second: Appraisal;
  readonly third: Appraisal;

  constructor() {
    this.attester.record({ verb: 'create', container: 'c1', instance: 'shop-1' });
    this.attester.record({ verb: 'start', container: 'c1', instance: 'shop-1' });
    const asked = question();
    const first = judge(this.attester, this.attester.show(asked, { parts: { inventory: RUNNING } }), asked);
    this.second = this.show(kept(first));
    this.third = this.show(kept(this.second));
  }

  show(previous: Continuity, change: Change = {}): Appraisal {
    const asked = question();
    const { inventory } = previous;
    if (inventory === undefined) throw new Error('an inventory is kept');
    const message = this.attester.show(asked, {
      from: previous.instanceLog.entries,
      parts: { inventory: { unchanged: inventory.digest }, ...change.parts },
    });
    return judge(this.attester, message, asked, { previous, ...change.input });
  }
}

interface Change {
  readonly parts?: Partial<EvidenceMessage>;
  readonly input?: Partial<AppraisalInput>;
}

function kept({ next }: Appraisal): Continuity {
  if (next === undefined) throw new Error('something is kept');
  return next;
}

/** The same by its content, and no object of it the same: nothing is known to have been judged. */
function readAgain(continuity: Continuity): Continuity {
  return continuityFromJson(continuityToJson(continuity));
}

function verdict({ platform, instances }: Appraisal) {
  return { platform, instances };
}

describe('a machine on which nothing has happened', () => {
  it('is judged as before, without being judged again', () => {
    const { second, third } = new Steady();
    expect(third.platform.state).toBe('VERIFIED');
    expect(third.platform).toBe(second.platform);
    expect(third.instances).toBe(second.instances);
    expect(third.boot?.clock).not.toBe(second.boot?.clock);
    expect(third.next?.boot).toEqual(third.boot);
  });

  it('is not known by what another verifier has kept of it', () => {
    const steady = new Steady();
    const again = steady.show(readAgain(kept(steady.third)));
    expect(again.platform).not.toBe(steady.third.platform);
    expect(verdict(again)).toEqual(verdict(steady.third));
  });

  it('is refused when its quote does not hold, whatever was found before', () => {
    const steady = new Steady();
    const asked = question();
    const previous = kept(steady.third);
    const { attester } = steady;
    const message = attester.show(asked, {
      from: previous.instanceLog.entries,
      parts: { inventory: { unchanged: previous.inventory?.digest ?? '' } },
    });
    const stale = judge(attester, message, question(), { previous });
    expect(stale.authentic).toBe(false);
    expect(stale.platform.refusals.map(({ code }) => code)).toEqual(['EVIDENCE_NONCE']);
    expect(judge(attester, message, asked, { previous }).platform.state).toBe('VERIFIED');
  });
});

type Case = readonly [what: string, code: string, (steady: Steady) => Change];

const CASES: readonly Case[] = [
  [
    'a PCR that no log explains',
    'PCR_MISMATCH',
    ({ attester }) => {
      attester.extend(8, new Uint8Array(32).fill(1));
      return {};
    },
  ],
  [
    'an entry of the instance log that is kept back',
    'INSTANCE_LOG_MISMATCH',
    ({ attester }) => {
      attester.record({ verb: 'exec', container: 'c1', instance: 'shop-1' });
      return { parts: { instanceLog: { from: 2, entries: [] } } };
    },
  ],
  [
    'another program that runs',
    'INSTANCE_EXECUTABLE_UNKNOWN',
    () => ({
      parts: {
        inventory: {
          ...RUNNING,
          containers: [
            {
              container: 'c1',
              processes: [{ pid: 7, executable: '/tmp/miner', sha256: SHELL.replace(/./g, 'e') }],
            },
          ],
        },
      },
    }),
  ],
  ['an inventory that nobody has shown', 'LOG_POSITION', () => ({ parts: { inventory: unknown() } })],
  [
    'a log that begins elsewhere',
    'LOG_POSITION',
    () => ({ parts: { instanceLog: { from: 1, entries: [] } } }),
  ],
  [
    'an image that is not known any more',
    'IMAGE_REFERENCE_MISSING',
    () => ({ input: { images: () => undefined } }),
  ],
  [
    'an image whose file manifest is another',
    'INSTANCE_EXECUTABLE_UNKNOWN',
    () => ({ input: { images: () => ({ files: new Map() }) } }),
  ],
  [
    'a policy that asks for a better tier',
    'TIER_NOT_ALLOWED',
    () => ({ input: { policy: { ...POLICY, tiers: ['A'] } } }),
  ],
  [
    'a policy of other values',
    'PCR_MISMATCH',
    () => ({
      input: { policy: { ...POLICY, reference: { ...POLICY.reference, pcrs: { 4: ['ab'.repeat(32)] } } } },
    }),
  ],
];

function unknown(): EvidenceMessage['inventory'] {
  return { unchanged: `sha256:${'0'.repeat(64)}` };
}

describe('after a judgement that changed nothing', () => {
  it.each(CASES)('%s is %s, as it would be to a verifier that remembers nothing', (_, code, change) => {
    const steady = new Steady();
    const previous = kept(steady.third);
    const changed = change(steady);
    const appraisal = steady.show(previous, changed);
    const all = [appraisal.platform, ...appraisal.instances.values()].flatMap(({ refusals }) => refusals);
    expect(all.map((refusal) => refusal.code)).toContain(code);
    expect(verdict(appraisal)).toEqual(verdict(steady.show(readAgain(previous), changed)));
    // The same without the change.
    const honest = new Steady();
    expect(honest.show(kept(honest.third)).platform.state).toBe('VERIFIED');
  });

  it('another endorsement is said', () => {
    const steady = new Steady();
    const previous = kept(steady.third);
    const endorsement = { kind: 'hypervisor', reason: 'we run it' } as const;
    expect(steady.show(previous, { input: { endorsement } }).platform.limits.join()).toContain('we run it');
    const other = { kind: 'hypervisor', reason: 'they run it' } as const;
    expect(steady.show(previous, { input: { endorsement: other } }).platform.limits.join()).toContain(
      'they run it',
    );
    expect(steady.show(previous).platform.limits).toEqual(steady.third.platform.limits);
  });

  it('an update that the policy announces counts on from boot to boot', () => {
    const steady = new Steady();
    const policy = {
      ...POLICY,
      updates: [{ id: 'next', boots: 1, reference: { pcrs: { 4: ['ab'.repeat(32)] } } }],
    };
    const announced = steady.show(kept(steady.third), { input: { policy } });
    expect(announced.platform.updates).toEqual([{ id: 'next', state: 'announced', bootsLeft: 1, used: [] }]);
    const again = steady.show(kept(announced), { input: { policy } });
    expect(again.next?.updates).toEqual([{ id: 'next', since: 7 }]);
    // Withdrawn, nothing of it is kept.
    expect(steady.show(kept(again)).next?.updates).toBeUndefined();
  });
});
