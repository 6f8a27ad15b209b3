import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import type { DemoRecord } from '../src/demo/record.ts';
import { type Finished, run } from '../src/site/process.ts';

const DEMO = fileURLToPath(new URL('../src/demo/main.ts', import.meta.url));

describe('the demo', () => {
  let finished: Finished;
  let record: DemoRecord;
  beforeAll(async () => {
    finished = await run(process.execPath, [DEMO, '--json'], { timeoutMs: 170_000 });
    record = JSON.parse(finished.stdout) as DemoRecord;
  });

  it('prints only its record on standard output, and ends with 0 because every step went as it should', () => {
    expect(record.steps.filter(({ ok }) => !ok)).toEqual([]);
    expect(record.attacks.filter(({ refused }) => !refused)).toEqual([]);
    expect(record.ok).toBe(true);
    expect(finished.code).toBe(0);
  });

  it('goes from an empty folder to an attested instance', () => {
    expect(record.steps.map(({ name }) => name)).toEqual([
      'registry, TPMs, server',
      'enrol a build host and two devices',
      'build in an attestation session, sign, log, push',
      'verify the image',
      'onboard the application package',
      'start an instance on a verified device',
      'ask the application',
      'the instance is attested',
    ]);
  });

  it('shows who refused each attack, and why', () => {
    expect(record.attacks.map(({ code, refusedBy }) => [code, refusedBy])).toEqual([
      ['IMAGE_UNSIGNED', 'orchestrator'],
      ['SIGNATURE_SUBJECT_MISMATCH', 'orchestrator'],
      ['SESSION_REBOOTED', 'attestation server'],
      ['INSTANCE_UNLOGGED', 'attestation server'],
      ['INSTANCE_FILE_CHANGED', expect.stringMatching(/^device cabinet-\d$/)],
    ]);
  });

  it('says what this machine can’t show', () => {
    expect(finished.stderr).toContain('no IMA log');
    expect(record.steps[1]?.proof).toContain('tier C');
  });

  it('refuses flags that it does not know', async () => {
    const refused = await run(process.execPath, [DEMO, '--fast']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('usage:');
  });
});
