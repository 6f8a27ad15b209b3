import { fromHex } from '@kallio/codec';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AppraisalPolicy,
  type PathClass,
  parsePolicy,
  parseReferenceSet,
  referenceSetOf,
} from '../src/index.ts';
import { codes } from './support/appraise.ts';
import { IMAGE, SHELL } from './support/attester.ts';
import {
  digestOfFile,
  type ImaForm,
  type ImaLine,
  MACHINE_POLICY,
  Machine,
  referenceOf,
} from './support/machine.ts';

const { ima } = MACHINE_POLICY.reference;
if (ima === undefined) throw new Error('the policy has reference values for IMA');

/** The machine's policy with other classes of files. */
function withClasses(classes: readonly PathClass[]): AppraisalPolicy {
  const reference = { ...MACHINE_POLICY.reference, ima: { classes: [...classes] } };
  return parsePolicy({ ...MACHINE_POLICY, reference });
}

describe('files by class of path', () => {
  it('are VERIFIED, tier B, where each has a digest of its own class', () => {
    const appraisal = new Machine().appraise();
    expect(codes(appraisal)).toEqual([]);
    expect(appraisal.platform).toMatchObject({ state: 'VERIFIED', tier: 'B' });
  });

  it('are refused where a digest is known nowhere', () => {
    const machine = new Machine();
    machine.use({ name: '/usr/bin/ls', file: 'an unknown program' });
    const { platform } = machine.appraise();
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toMatchObject([
      { code: 'IMA_FILE_UNKNOWN', pointer: 'ima:4', message: expect.stringContaining('/usr/bin/ls') },
    ]);
  });

  it.each([
    ['a program in a module’s place', '/usr/lib/modules/6.1/x.ko', 'a shell of the host'],
    ['an application in a program’s place', '/usr/bin/app', 'an application'],
    ['a module outside its folder', '/opt/net.ko', 'a network module'],
    ['a folder that only begins alike', '/usr/bin2/sh', 'a shell of the host'],
  ])('are refused where an approved one is put in another’s place: %s', (_, name, file) => {
    const machine = new Machine();
    machine.use({ name, file });
    const { platform } = machine.appraise();
    expect(platform.state).toBe('VIOLATED');
    expect(platform.refusals).toMatchObject([
      { code: 'IMA_FILE_MISPLACED', pointer: 'ima:4', message: expect.stringContaining(name) },
    ]);
    // The same file in the place that it was approved for.
    const honest = new Machine();
    honest.use({ name: '/usr/bin/dash', file: 'a shell of the host' });
    honest.use({ name: '/usr/lib/modules/6.1/other/net.ko', file: 'a network module' });
    honest.use({ name: '/srv/app', file: 'an application' });
    expect(honest.appraise().platform.state).toBe('VERIFIED');
  });

  it('belong to the longest path that fits, a file’s own before any folder’s', () => {
    const digests = (file: string) => [digestOfFile(file)];
    const policy = withClasses([
      ...ima.classes,
      { name: 'the host’s own tools', paths: ['/usr/bin/local/'], digests: digests('a local tool') },
      { name: 'the editor', paths: ['/usr/bin/local/edit'], digests: digests('an editor') },
    ]);
    const machine = new Machine();
    machine.use({ name: '/usr/bin/local/tool', file: 'a local tool' });
    machine.use({ name: '/usr/bin/local/edit', file: 'an editor' });
    expect(machine.appraise({ policy }).platform.state).toBe('VERIFIED');
    machine.use({ name: '/usr/bin/local/other', file: 'an editor' });
    machine.use({ name: '/usr/bin/local/edit', file: 'a local tool' });
    expect(codes(machine.appraise({ policy }))).toEqual(['IMA_FILE_MISPLACED', 'IMA_FILE_MISPLACED']);
  });

  it('of an image are taken for what runs in containers, but not where only the host’s may be', () => {
    const machine = new Machine();
    machine.record({ verb: 'create', container: 'c1', image: IMAGE });
    machine.record({ verb: 'delete', container: 'c1', image: IMAGE });
    machine.use({ name: '/usr/bin/sh', file: 'a shell' });
    expect(digestOfFile('a shell')).toBe(SHELL);
    expect(machine.appraise().platform.state).toBe('VERIFIED');
    machine.use({ name: '/usr/lib/modules/6.1/sh.ko', file: 'a shell' });
    expect(codes(machine.appraise())).toEqual(['IMA_FILE_UNKNOWN']);
  });

  it('of no class are refused where no class is for all others', () => {
    const policy = withClasses(ima.classes.filter(({ paths }) => paths !== undefined));
    expect(codes(new Machine().appraise({ policy }))).toEqual(['IMA_FILE_UNKNOWN']);
  });
});

describe('a class with a reference-set file', () => {
  const set = parseReferenceSet(
    referenceSetOf('file', 32, [fromHex(digestOfFile('an application'))]).toBytes(),
  );
  const digest = `sha256:${'5e'.repeat(32)}` as const;
  const policy = withClasses([
    ...ima.classes.filter(({ paths }) => paths !== undefined),
    { name: 'everything else', sets: [{ name: 'applications', digest, bytes: 48 }] },
  ]);

  it('is judged by what stands in it', () => {
    const sets = new Map([[digest, set]]);
    const machine = new Machine();
    expect(machine.appraise({ policy, sets }).platform.state).toBe('VERIFIED');
    machine.use({ name: '/opt/other', file: 'another application' });
    expect(codes(machine.appraise({ policy, sets }))).toEqual(['IMA_FILE_UNKNOWN']);
  });

  it('is UNKNOWN where the file is not at hand, and judged anew when it is', () => {
    const machine = new Machine();
    const without = machine.appraise({ policy });
    expect(without.platform.state).toBe('UNKNOWN');
    expect(codes(without)).toContain('REFERENCE_SET_MISSING');
    const sets = new Map([[digest, set]]);
    const { next } = without;
    if (next === undefined) throw new Error('authentic evidence leaves something to keep');
    expect(machine.appraise({ policy, sets, previous: next }).platform.state).toBe('VERIFIED');
  });
});

describe('a long list', () => {
  const forms: readonly ImaForm[] = ['ima-ng', 'ima-sig', 'sha512', 'verity'];
  const known = Array.from({ length: 40 }, (_, i) => `known file ${i}`);
  const others = ['a shell of the host', 'a network module', 'an application'];
  // Half of them are known by their fs-verity digests, too.
  const references = new Set([
    ...[...others, ...known].flatMap((file) => [
      referenceOf({ name: '', file }),
      referenceOf({ name: '', file, form: 'sha512' }),
    ]),
    ...known.slice(20).map((file) => referenceOf({ name: '', file, form: 'verity' })),
  ]);
  const everything = { name: 'everything', digests: [...references] };
  const name = fc.constantFrom('/usr/bin/a', '/opt/b', '/srv/\u00e4');
  const file = fc.constantFrom(...known);
  // Most are of one form, as on a real machine, so that many digests are looked up together.
  const line: fc.Arbitrary<ImaLine> = fc.oneof(
    { weight: 20, arbitrary: fc.record({ name, file }) },
    { weight: 3, arbitrary: fc.record({ name, file, form: fc.constantFrom(...forms) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        name,
        file: fc.constantFrom('an unknown file', 'violation'),
        form: fc.constantFrom(...forms),
      }),
    },
    // Stops a digest that begins with a known one, and one of a known file's bytes shown as that of an fs-verity tree.
    {
      weight: 1,
      arbitrary: fc.constantFrom<ImaLine>(
        {
          name: '/opt/longer',
          file: 'no file',
          form: 'sha512',
          digest: digestOfFile(known[0] ?? '') + digestOfFile(known[1] ?? ''),
        },
        { name: '/opt/tree', file: 'no file', form: 'verity', digest: digestOfFile(known[0] ?? '') },
      ),
    },
  );
  const lines = fc.array(line, { minLength: 1, maxLength: 200, size: 'max' });

  it('has the files of several classes judged each by its own, whatever stands around it', () => {
    // Half of the known files are libraries, half of them programs: one in the other's place is unknown there.
    const digestsOf = (files: readonly string[]) => [...others, ...files].map(digestOfFile);
    const policy = withClasses([
      { name: 'programs', paths: ['/usr/bin/'], digests: digestsOf(known.slice(0, 20)) },
      { name: 'libraries', paths: ['/usr/lib/'], digests: digestsOf(known.slice(20)) },
      { name: 'everything else', digests: digestsOf([]) },
    ]);
    // The same where names are read as text: a path of no class here is no plain ASCII.
    const classes = policy.reference.ima?.classes ?? [];
    const byText = withClasses([...classes, { name: 'other', paths: ['/\u00e4/'], digests: digestsOf([]) }]);
    const entry = fc.record({
      place: fc.constantFrom('/usr/bin/', '/usr/bin/', '/usr/lib/', '/usr/lib/', '/opt/'),
      file: fc.nat({ max: known.length - 1 }),
      moved: fc.integer({ min: 0, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 200, size: 'max' }), (list) => {
        const machine = new Machine();
        const misplaced: string[] = [];
        for (const { place, file, moved } of list) {
          const right = file < 20 ? '/usr/bin/' : '/usr/lib/';
          const at = moved === 0 ? place : right;
          machine.use({ name: `${at}${file}`, file: known[file] ?? '' });
          if (at !== right) misplaced.push(`ima:${machine.ima.length}`);
        }
        for (const one of [policy, byText]) {
          const { refusals } = machine.appraise({ policy: one }).platform;
          expect(refusals.map(({ pointer }) => pointer)).toEqual(misplaced);
          expect(refusals.every(({ code }) => code === 'IMA_FILE_MISPLACED')).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('has each entry judged as it is by itself, whatever stands around it', () => {
    const policy = withClasses([everything]);
    // Tells paths apart: there the class of each entry is looked for by its name.
    const nothing = { name: 'nothing', paths: ['/nothing/'], digests: [digestOfFile('nothing')] };
    const byPath = withClasses([nothing, everything]);
    fc.assert(
      fc.property(lines, (list) => {
        const machine = new Machine();
        for (const one of list) machine.use(one);
        const unknown = machine.ima.flatMap((one, i) =>
          one.file === 'violation' || !references.has(referenceOf(one)) ? [`ima:${i + 1}`] : [],
        );
        for (const one of [policy, byPath]) {
          const { platform } = machine.appraise({ policy: one });
          expect(platform.refusals.map(({ pointer }) => pointer)).toEqual(unknown);
          expect(platform.state).toBe(unknown.length === 0 ? 'VERIFIED' : 'VIOLATED');
        }
      }),
      { numRuns: 60 },
    );
  });
});
