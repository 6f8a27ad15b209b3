import type { Inventory } from '@kallio/evidence';
import { describe, expect, it } from 'vitest';
import { codes, judge } from './support/appraise.ts';
import { IMAGE, question, SERVER, SHELL, SoftwareAttester } from './support/attester.ts';

const RUNNING: Inventory = {
  scope: 'machine',
  containers: [{ container: 'c1', processes: [{ pid: 100, executable: '/bin/server', sha256: SERVER }] }],
  changed: [],
};

function started(): SoftwareAttester {
  const attester = new SoftwareAttester();
  attester.record({ verb: 'create', container: 'c1', instance: 'shop-1' });
  attester.record({ verb: 'start', container: 'c1', instance: 'shop-1' });
  return attester;
}

function observe(attester: SoftwareAttester, inventory: Inventory) {
  const asked = question();
  return judge(attester, attester.show(asked, { parts: { inventory } }), asked);
}

/** The honest twin of every attack here. */
function expectHonest(attester: SoftwareAttester): void {
  const appraisal = observe(attester, RUNNING);
  expect(appraisal.platform.state).toBe('VERIFIED');
  expect(appraisal.instances.get('shop-1')).toEqual({
    state: 'VERIFIED',
    refusals: [],
    container: 'c1',
    image: IMAGE,
  });
}

describe('an instance', () => {
  it('is VERIFIED when log, kernel and image agree', () => {
    const attester = started();
    attester.record({ verb: 'exec', container: 'c1', instance: 'shop-1' });
    expectHonest(attester);
  });

  it('is UNLOGGED when it was started behind the agent’s back, and the platform is DEGRADED', () => {
    const attester = started();
    expectHonest(attester);
    const appraisal = observe(attester, {
      ...RUNNING,
      containers: [...RUNNING.containers, { container: 'evil', processes: [] }],
    });
    expect(appraisal.instances.get('evil')).toMatchObject({
      state: 'UNLOGGED',
      container: 'evil',
      refusals: [{ code: 'INSTANCE_UNLOGGED' }],
    });
    expect(appraisal.instances.get('evil')?.image).toBeUndefined();
    expect(appraisal.platform.state).toBe('DEGRADED');
    expect(codes(appraisal)).toEqual(['PLATFORM_RUNS_UNLOGGED']);
    expect(appraisal.instances.get('shop-1')?.state).toBe('VERIFIED');
  });

  it('is UNLOGGED when it still runs after the log deleted it', () => {
    const attester = started();
    expectHonest(attester);
    attester.record({ verb: 'delete', container: 'c1', instance: 'shop-1' });
    expect(observe(attester, RUNNING).instances.get('c1')?.state).toBe('UNLOGGED');
  });

  it('cannot hide an unlogged container by taking its id for a name', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1', instance: 'evil' });
    const appraisal = observe(attester, {
      ...RUNNING,
      containers: [...RUNNING.containers, { container: 'evil', processes: [] }],
    });
    expect(appraisal.instances.get('evil')?.state).toBe('UNLOGGED');
    expect(appraisal.platform.state).toBe('DEGRADED');
  });

  it('is MISSING when the log runs it and the kernel does not', () => {
    const attester = started();
    expectHonest(attester);
    const appraisal = observe(attester, { ...RUNNING, containers: [] });
    expect(appraisal.instances.get('shop-1')).toMatchObject({
      state: 'DEGRADED',
      refusals: [{ code: 'INSTANCE_MISSING' }],
    });
    expect(appraisal.platform.state).toBe('VERIFIED');
  });

  it('is not MISSING before it was started or once it was told to stop', () => {
    const attester = new SoftwareAttester();
    attester.record({ verb: 'create', container: 'c1', instance: 'shop-1' });
    const nothing = { ...RUNNING, containers: [] };
    expect(observe(attester, nothing).instances.get('shop-1')?.state).toBe('VERIFIED');
    attester.record({ verb: 'start', container: 'c1', instance: 'shop-1' });
    attester.record({ verb: 'kill', container: 'c1', instance: 'shop-1' });
    expect(observe(attester, nothing).instances.get('shop-1')?.state).toBe('VERIFIED');
  });

  it('is VIOLATED, named by file, when an executable of its image was changed', () => {
    const attester = started();
    expectHonest(attester);
    const appraisal = observe(attester, {
      ...RUNNING,
      containers: [
        { container: 'c1', processes: [{ pid: 1, executable: '/bin/server', sha256: 'ee'.repeat(32) }] },
      ],
    });
    expect(appraisal.instances.get('shop-1')).toMatchObject({
      state: 'VIOLATED',
      refusals: [{ code: 'INSTANCE_FILE_CHANGED', pointer: 'container:c1 pid:1 file:/bin/server' }],
    });
    expect(appraisal.platform.state).toBe('VERIFIED');
  });

  it('is VIOLATED when one of its files was put in place of another', () => {
    const attester = started();
    expectHonest(attester);
    const appraisal = observe(attester, {
      ...RUNNING,
      containers: [{ container: 'c1', processes: [{ pid: 1, executable: '/bin/server', sha256: SHELL }] }],
    });
    expect(appraisal.instances.get('shop-1')?.refusals).toMatchObject([{ code: 'INSTANCE_FILE_CHANGED' }]);
  });

  it('is VIOLATED when the agent found a changed file', () => {
    const attester = started();
    expectHonest(attester);
    const appraisal = observe(attester, {
      ...RUNNING,
      changed: [{ container: 'c1', path: '/etc/shop.conf' }],
    });
    expect(appraisal.instances.get('shop-1')).toMatchObject({
      state: 'VIOLATED',
      refusals: [{ code: 'INSTANCE_FILE_CHANGED', pointer: 'container:c1 file:/etc/shop.conf' }],
    });
  });

  it('is VIOLATED when something runs that its image does not hold; the image’s bytes elsewhere are its own', () => {
    const attester = started();
    const running = (sha256: string) =>
      observe(attester, {
        ...RUNNING,
        containers: [{ container: 'c1', processes: [{ pid: 1, executable: '/tmp/x', sha256 }] }],
      }).instances.get('shop-1');
    expect(running(SHELL)?.state).toBe('VERIFIED');
    expect(running('ee'.repeat(32))).toMatchObject({
      state: 'VIOLATED',
      refusals: [{ code: 'INSTANCE_EXECUTABLE_UNKNOWN', pointer: 'container:c1 pid:1 file:/tmp/x' }],
    });
  });

  it('is UNKNOWN while its image has no file manifest', () => {
    const attester = started();
    const asked = question();
    const message = attester.show(asked, { parts: { inventory: RUNNING } });
    const appraisal = judge(attester, message, asked, { images: () => undefined });
    expect(appraisal.instances.get('shop-1')).toMatchObject({
      state: 'UNKNOWN',
      refusals: [{ code: 'IMAGE_REFERENCE_MISSING' }],
    });
  });

  it('is VIOLATED when the log enters it under the name of another image, or before it was created', () => {
    const attester = started();
    expectHonest(attester);
    attester.record({
      verb: 'exec',
      container: 'c1',
      instance: 'shop-1',
      image: `sha256:${'12'.repeat(32)}`,
    });
    expect(observe(attester, RUNNING).instances.get('shop-1')).toMatchObject({
      state: 'VIOLATED',
      refusals: [{ code: 'INSTANCE_LOG_INCONSISTENT' }],
    });
    const other = new SoftwareAttester();
    other.record({ verb: 'start', container: 'c1' });
    expect(observe(other, RUNNING).instances.get('c1')?.state).toBe('VIOLATED');
  });

  it('cannot hide behind another of the same name', () => {
    const attester = started();
    attester.record({ verb: 'create', container: 'c2', instance: 'shop-1' });
    attester.record({ verb: 'start', container: 'c2', instance: 'shop-1' });
    const second = (sha256: string) => ({
      ...RUNNING,
      containers: [
        ...RUNNING.containers,
        { container: 'c2', processes: [{ pid: 2, executable: '/bin/server', sha256 }] },
      ],
    });
    expect(observe(attester, second(SERVER)).instances.get('shop-1')?.state).toBe('VERIFIED');
    expect(observe(attester, second('ee'.repeat(32))).instances.get('shop-1')?.state).toBe('VIOLATED');
  });

  it('says so when only some containers were looked at', () => {
    const appraisal = observe(started(), { ...RUNNING, scope: '/var/lib/site' });
    expect(appraisal.platform.limits).toContain('Only containers under /var/lib/site were looked at.');
    const none = observe(started(), { ...RUNNING, scope: 'none' });
    expect(none.platform.limits).toContain('No containers were looked at: this machine’s agent starts none.');
  });
});
