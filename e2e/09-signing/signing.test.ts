import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, sha256, toHex, utf8 } from '@kallio/codec';
import { parseReference, Repository } from '@kallio/oci';
import { bundlesOf, parseBundle } from '@kallio/signature';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kallioCommand, mustKallio, type Outcome } from '../src/site/kallio.ts';
import { type Boot, kernelDigest } from '../src/site/measuring/firmware.ts';
import { MeasuringMachine } from '../src/site/measuring/machine.ts';
import { accepts, freePort } from '../src/site/ports.ts';
import { must, Service, until } from '../src/site/process.ts';
import { Site } from '../src/site/site.ts';

/*
 * Who may sign, end to end through the command: a build host whose signing key is under its operator's approvals, a log
 * with witnesses, and an image policy that names both.
 */

const boot = (kernel: string): Boot => ({ kernel, initrd: 'an initrd', commandLine: 'root=/dev/vda ro' });
const OLD = boot('linux 6.1.0-28');
const UPDATE = boot('linux 6.1.0-29');
const UNANNOUNCED = boot('a kernel of somebody else');

const zero = '00'.repeat(32);
const textDigest = (text: string) => toHex(sha256(utf8(text)));
/** What a boot measures is left to the signing policy here: the TPM itself decides by it. */
const BUILDERS = {
  policy: 'kallio-policy-v1',
  id: 'builders-under-approvals',
  kind: 'builder',
  bank: 'sha256',
  pcrs: Array.from({ length: 16 }, (_, pcr) => pcr),
  reference: {
    pcrs: Object.fromEntries([11, 12, 13, 15].map((pcr) => [String(pcr), [zero]])),
    ima: { classes: [{ name: 'programs', digests: [zero] }] },
    // What the firmware of these machines has in its variables.
    secureBoot: {
      enabled: true,
      PK: { hashes: [textDigest('the platform’s key')] },
      KEK: { hashes: [textDigest('a key exchange key')] },
      db: { hashes: [textDigest('what may start')] },
      dbx: { hashes: [textDigest('what may not')] },
    },
  },
  excluded: Object.fromEntries(
    [0, 1, 2, 3, 4, 5, 6, 8, 9].map((pcr) => [String(pcr), 'the signing key’s policy is about it']),
  ),
  tiers: ['A', 'B', 'C'],
};

let site: Site;
let machine: MeasuringMachine;
let witnesses: Service[] = [];
let keys: string[] = [];
/** An operator's key that governs nothing here, as image policies name it. */
let stranger: string;
/** The policy that `kallio policy image` makes: both witnesses must have signed, and the key be the operator's to open. */
let made: ImagePolicyFile;
const file = (name: string) => join(site.dir, name);
const image = (tag: string) => `${site.registry}/app:${tag}`;

beforeAll(async () => {
  site = await Site.create();
  machine = new MeasuringMachine('build-1', 'builder', join(site.dir, 'build-1'), OLD);
  const ports = [await freePort(), await freePort()];
  const inits = await Promise.all(
    ports.map((_, i) => mustKallio(['witness', 'init', '--dir', file(`w${i}`), '--name', `w.example/${i}`])),
  );
  keys = inits.map((one) => (one as { verifierKey: string }).verifierKey);
  const asked = keys.map((key, i) => ({ key, url: `http://127.0.0.1:${ports[i]}` }));
  await mustKallio([
    ...['policy', 'signing-authority', '--key', file('operator.key'), '--public', file('operator.pub')],
  ]);
  const other = ['--key', file('stranger.key'), '--public', file('stranger.pub')];
  stranger = ((await mustKallio(['policy', 'signing-authority', ...other])) as { name: string }).name;
  await Promise.all([site.startRegistry(), site.makeTpms([machine])]);
  await site.startServer({ builder: BUILDERS }, ['--signing-authority', file('operator.pub')], {
    log: { witnesses: asked },
  });
  made = (await site.run(
    ...['policy', 'image', '--builder', 'build-1', '--tier', 'C', '--witness', ...keys],
    ...['--signing-authority', file('operator.pub')],
  )) as ImagePolicyFile;
  const log = made.logs[0]?.verifierKey ?? '';
  witnesses = await Promise.all(
    ports.map((port, i) => {
      const flags = ['--dir', file(`w${i}`), '--listen', `127.0.0.1:${port}`, '--log', log];
      const [command, args] = kallioCommand(['witness', 'run', ...flags]);
      return Service.start(`w${i}`, file(`w${i}.log`), command, args, () => accepts(port));
    }),
  );
  await mkdir(file('approvals'));
  const signing = { authority: file('operator.pub'), approvals: file('approvals') };
  await site.startMachine(machine, 0, { signing });
});
afterAll(async () => {
  await machine.powerOff();
  for (const witness of witnesses) await witness.stop();
  await site.destroy();
});

interface ImagePolicyFile {
  readonly logs: readonly { readonly verifierKey?: string }[];
  readonly [field: string]: unknown;
}

/** A minimal image: no base, one file. */
async function build(tag: string, ...flags: string[]): Promise<Outcome> {
  const context = file(`context-${tag}`);
  await mkdir(context, { recursive: true });
  await writeFile(join(context, 'Containerfile'), 'FROM scratch\nCOPY greeting /greeting\nUSER 1000\n');
  await writeFile(join(context, 'greeting'), `hello from ${tag}\n`);
  return site.try('build', '-t', image(tag), context, '--agent', machine.socket, ...flags);
}

/** How an image is judged by the made policy, changed like this. */
async function verified(tag: string, changes: Readonly<Record<string, unknown>> = {}, ...flags: string[]) {
  const policy = file('policy-of-the-moment.json');
  await writeFile(policy, JSON.stringify({ ...made, ...changes }));
  const { json } = await site.try('verify', image(tag), '--policy', policy, ...flags);
  return json as {
    ok: boolean;
    signingKey: string;
    session: string;
    steps: { step: string; ok: boolean; detail: string }[];
    refusal?: { code: string; hint?: string };
  };
}

interface State {
  readonly pcrs: Readonly<Record<string, string>>;
}
const signingState = async () =>
  (await site.run('agent', 'signing-state', '--socket', machine.socket)) as State;

/** The operator approves a state, and puts the approval where the build host's agent reads it. */
async function approve(name: string, state: State): Promise<void> {
  await writeFile(file('state.json'), JSON.stringify(state));
  const flags = ['--key', file('operator.key'), '--state', file('state.json')];
  const approval = await site.run('policy', 'authorize-signing', ...flags);
  await writeFile(join(file('approvals'), `${name}.json`), JSON.stringify(approval));
}

/** PCR 4 after a boot with this kernel: its digest, then the separator, as firmware measures them. */
function pcr4({ kernel }: Boot): string {
  const events = [fromHex(kernelDigest(kernel), 32), sha256(new Uint8Array(4))];
  const value = events.reduce((pcr, digest) => sha256(pcr, digest), new Uint8Array(32));
  return toHex(value);
}

async function rebootInto(next: Boot): Promise<void> {
  machine.boot = next;
  await machine.reboot();
  await until('the build host to be verified again', 60, async () => {
    const { json } = await site.try('attesters', 'attest', 'build-1');
    const { state } = (await site.run('attesters', 'show', 'build-1')) as { state: string };
    return json !== undefined && state === 'VERIFIED' ? true : undefined;
  });
}

let firstKey = '';

describe('a signing key under its operator’s approvals', () => {
  it('1. signs nothing before its operator has approved the machine’s state; and nothing is built in vain', async () => {
    const began = file('builder-began');
    const refused = await build('early', '--builder', `touch ${began}; exit 3`);
    expect(refused).toMatchObject({ exit: 1, error: { code: 'SIGNING_NOT_APPROVED' } });
    expect(existsSync(began)).toBe(false);
    expect(await site.run('sessions', 'list')).toEqual({ sessions: [] });
  });

  it('2. signs in the state that was approved, with evidence in between, seen by every witness', async () => {
    const state = await signingState();
    expect(state.pcrs['4']).toBe(pcr4(OLD));
    await approve('linux-6.1.0-28', state);
    const builder =
      'buildah --root "$OUT-s" --runroot "$OUT-r" bud --isolation chroot --tag x "$1" && buildah --root "$OUT-s" --runroot "$OUT-r" push --quiet x "oci:$OUT:image"; r=$?; rm -rf "$OUT-s" "$OUT-r"; exit $r';
    const built = await build('old', '--builder', `sleep 4; ${builder}`, '--attest-every', '1');
    expect(built.error).toBeUndefined();
    const judged = await verified(
      'old',
      { require: { evidence: 3, nonRoot: true, secureBoot: true } },
      '--evidence',
    );
    expect(judged).toMatchObject({ ok: true });
    const step = (name: string) => judged.steps.find((one) => one.step === name)?.detail;
    expect(step('witnesses')).toMatch(/^w\.example\/0, w\.example\/1 signed/);
    expect(step('evidence')).toMatch(/^([3-9]|\d\d) quotes of one AK/);
    firstKey = judged.signingKey;
    const { require } = made;
    expect(require).toEqual({ signingAuthority: [expect.stringMatching(/^000b[0-9a-f]{64}$/)] });
    expect(await verified('old', { require }, '--evidence')).toMatchObject({ ok: true });
    expect(await verified('old', { require: { signingAuthority: [stranger] } })).toMatchObject({
      refusal: { code: 'CLAIM_SIGNING_AUTHORITY' },
    });
    // One that is taken back while the builder runs: the session is not closed on what can't be signed.
    const approval = join(file('approvals'), 'linux-6.1.0-28.json');
    const taken = await build(
      'taken-back',
      '--builder',
      `mv ${approval} ${file('taken.json')} && ${builder}`,
    );
    expect(taken).toMatchObject({ exit: 1, error: { code: 'SIGNING_NOT_APPROVED' } });
    const { sessions } = (await site.run('sessions', 'list')) as {
      sessions: { state: string; reason: unknown }[];
    };
    expect(sessions[0]).toMatchObject({ state: 'failed', reason: { code: 'SESSION_ABANDONED' } });
    await rename(file('taken.json'), approval);
    // Files that are no approval, or a forged one, stop nothing.
    await writeFile(join(file('approvals'), 'a-junk.json'), '{');
    await writeFile(
      join(file('approvals'), 'b-forged.json'),
      JSON.stringify({ ...JSON.parse(await readFile(approval, 'utf8')), signature: '01'.repeat(64) }),
    );
    expect((await build('beside-junk')).error).toBeUndefined();
    await rename(approval, file('taken.json'));
    expect(await build('forged')).toMatchObject({ exit: 1, error: { code: 'SIGNING_APPROVAL_FORGED' } });
    await rename(file('taken.json'), approval);
    expect(await verified('old', { require: { evidence: 64 } })).toMatchObject({
      refusal: { code: 'CLAIM_EVIDENCE' },
    });
  });

  it('3. is the same key after an update that was announced', async () => {
    // Before the update: the operator computes what it will lead to, and puts the approval beside the old one.
    const state = await signingState();
    await approve('linux-6.1.0-29', { ...state, pcrs: { ...state.pcrs, 4: pcr4(UPDATE) } });
    await rebootInto(UPDATE);
    expect((await signingState()).pcrs['4']).toBe(pcr4(UPDATE));
    // Three at once: a TPM has few places for what an approval takes.
    const built = await Promise.all(['updated', 'beside', 'beside-it'].map((tag) => build(tag)));
    expect(built.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
    const judged = await verified('updated', { signingKeys: [firstKey] });
    expect(judged).toMatchObject({ ok: true, signingKey: firstKey });
  });

  it('4. does not sign under a kernel that nobody announced; and does again under the one before', async () => {
    await rebootInto(UNANNOUNCED);
    const refused = await build('unannounced');
    expect(refused).toMatchObject({ exit: 1, error: { code: 'SIGNING_NOT_APPROVED' } });
    expect(await verified('unannounced')).toMatchObject({ refusal: { code: 'OCI_NOT_FOUND' } });
    await rebootInto(OLD);
    expect((await build('rolled-back')).error).toBeUndefined();
    expect(await verified('rolled-back')).toMatchObject({ ok: true, signingKey: firstKey });
  });

  it('5. is rotated, and what the old one signed verifies as before', async () => {
    const { signingKey } = (await site.run('agent', 'rotate-signing-key', '--socket', machine.socket)) as {
      signingKey: string;
    };
    expect((await build('rotated')).error).toBeUndefined();
    const judged = await verified('rotated');
    expect(judged.ok).toBe(true);
    expect(judged.signingKey).not.toBe(firstKey);
    expect(judged.signingKey).toBe(signingKey);
    for (const tag of ['old', 'updated']) {
      expect(await verified(tag, {}, '--evidence')).toMatchObject({ ok: true, signingKey: firstKey });
    }
    expect(await verified('rotated', { signingKeys: [firstKey] })).toMatchObject({
      refusal: { code: 'POLICY_SIGNING_KEY' },
    });
    // The old key, stolen with the old disk: what it signed from now on is not believed; what it signed stays good.
    const since = (time: Date) => [{ signingKey: firstKey, reason: 'stolen', since: time.toISOString() }];
    expect(await verified('old', { revoked: since(new Date()) })).toMatchObject({ ok: true });
    expect(await verified('old', { revoked: since(new Date(0)) })).toMatchObject({
      refusal: { code: 'REVOKED_SIGNING_KEY' },
    });
  });
});

describe('an image that was built before its session', () => {
  it('is refused, and signed when the builder sets such times by design', async () => {
    const layout = file('made-earlier');
    const buildah = `buildah --root ${file('earlier-storage')} --runroot ${file('earlier-run')}`;
    const context = file('context-old');
    await must('sh', [
      '-c',
      `${buildah} bud --isolation chroot --tag x ${context} && ${buildah} push --quiet x oci:${layout}:image`,
    ]);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const copied = ['--builder', `cp -r ${layout}/. "$OUT"`];
    expect(await build('stale', ...copied)).toMatchObject({ exit: 1, error: { code: 'BUILD_IMAGE_OLDER' } });
    expect(await verified('stale')).toMatchObject({ refusal: { code: 'OCI_NOT_FOUND' } });
    expect((await build('by-design', ...copied, '--reproducible')).error).toBeUndefined();
    expect(await verified('by-design')).toMatchObject({ ok: true });
  });
});

describe('a log whose witnesses stay away', () => {
  it('still takes signatures; a policy that wants witnesses takes them when the proof is there', async () => {
    const [first, second] = witnesses;
    await second?.stop();
    expect((await build('unseen')).error).toBeUndefined();
    expect(await verified('unseen')).toMatchObject({
      ok: false,
      refusal: { code: 'WITNESS_QUORUM', hint: expect.stringContaining('kallio log proof') },
    });
    expect(await verified('unseen', { witnesses: { quorum: 1, keys } })).toMatchObject({ ok: true });
    // It is back: the same witness, which remembers what it saw.
    const args = (await readFile(file('w1.log'), 'utf8')).match(/port (\d+)/);
    const port = Number(args?.[1]);
    const log = made.logs[0]?.verifierKey ?? '';
    const flags = ['--dir', file('w1'), '--listen', `127.0.0.1:${port}`, '--log', log];
    const [command, started] = kallioCommand(['witness', 'run', ...flags]);
    const again = await Service.start('w1', file('w1.log'), command, started, () => accepts(port));
    witnesses = first === undefined ? [again] : [first, again];
    const policy = file('loose.json');
    await writeFile(policy, JSON.stringify({ ...made, witnesses: { quorum: 1, keys } }));
    const { logIndex } = (await site.run('verify', image('unseen'), '--policy', policy)) as {
      logIndex: number;
    };
    await until('the witness to have signed', 30, async () => {
      const proof = (await site.run('log', 'proof', String(logIndex))) as { witnesses: string[] };
      return proof.witnesses.length === 2 || undefined;
    });
    // Kept beside the bundle, for whoever has no registry at hand that it is attached in.
    const repository = new Repository(parseReference(image('unseen')));
    const { digest } = await repository.manifest('unseen');
    const entryOf = (bundle: Uint8Array) => parseBundle(bundle).entry.logIndex;
    const bundle = (await bundlesOf(repository, digest)).find((one) => entryOf(one) === logIndex);
    await writeFile(file('kept.sigstore.json'), bundle ?? '');
    const { proof } = (await site.run('log', 'proof', String(logIndex))) as { proof: string };
    await writeFile(file('kept.tlog-proof'), proof);
    const kept = ['--bundle', file('kept.sigstore.json')];
    expect(await verified('unseen', {}, ...kept)).toMatchObject({ refusal: { code: 'WITNESS_QUORUM' } });
    const withProof = [...kept, '--proof', file('kept.tlog-proof')];
    expect(await verified('unseen', {}, ...withProof)).toMatchObject({ ok: true });
    const other = await site.try('log', 'proof', '0', '--attach', image('unseen'));
    expect(other.error?.code).toBe('LOG_OTHER_IMAGE');
    await site.run('log', 'proof', String(logIndex), '--attach', image('unseen'));
    expect(await verified('unseen')).toMatchObject({ ok: true });
  });
});
