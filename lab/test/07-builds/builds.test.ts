import { beforeAll, describe, expect, it } from 'vitest';
import type { Machine } from '../../src/machine/machine.ts';
import { told } from '../../src/say.ts';
import type { LabSite } from '../../src/site/site.ts';
import { Device, VERIFIED, verdict } from '../support/device.ts';
import { say } from '../support/say.ts';

/* An attested build on a real build host: the kernel's own list says what ran between the session's two quotes. */

const AGENT = '/var/lib/kallio/agent.sock';
const CONTEXT = '/var/tmp/greeting';
/** What the build host runs as its builder. */
const BUILDER = [
  'buildah --root "$TMPDIR/s" --runroot "$TMPDIR/r" bud --isolation chroot --tag x "$1"',
  'buildah --root "$TMPDIR/s" --runroot "$TMPDIR/r" push --quiet x "oci:$OUT:image"',
].join(' && ');

interface Record {
  readonly error?: { readonly code: string; readonly message: string };
}

describe('a build on a machine whose kernel measures what runs', () => {
  let device: Device;
  let machine: Machine;
  let site: LabSite;
  beforeAll(async () => {
    device = await Device.open('build-1');
    ({ machine, site } = device);
    // An earlier scenario may have had something built on it: then it is VERIFIED, of another boot, until it says more.
    if ((await site.attesters()).some(({ attester }) => attester === machine.name)) {
      expect(verdict(await device.bootHonestly())).toEqual(VERIFIED);
    } else {
      await site.startMachine(machine, say);
      await site.verified(say, [machine]);
    }
    await machine.must(
      [
        `mkdir -p ${CONTEXT} && echo hello >${CONTEXT}/greeting`,
        `printf 'FROM scratch\\nCOPY greeting /greeting\\nUSER 1000\\n' >${CONTEXT}/Containerfile`,
      ].join(' && '),
    );
  });

  /** The record of `kallio build --json`, run there with this builder. */
  async function build(tag: string, builder: string): Promise<{ code: number; record: Record }> {
    const script = `TMPDIR=/var/tmp kallio build -t ${image(tag)} ${CONTEXT} --builder '${builder}' --agent ${AGENT} --json`;
    const { code, stdout } = await told(say, `${tag}, built on ${machine.name}`, () =>
      machine.exec(script, 600_000),
    );
    return { code, record: JSON.parse(stdout) as Record };
  }
  const image = (tag: string) => `${site.registry}/greeting:${tag}`;

  it('is signed, at the tier of that machine, and its evidence verifies', async () => {
    expect(await build('honest', BUILDER)).toMatchObject({ code: 0 });
    expect(
      await site.run('verify', image('honest'), '--policy', site.imagePolicy, '--evidence'),
    ).toMatchObject({
      ok: true,
      builder: machine.name,
      tier: 'B',
    });
  });

  it('is signed by nobody when a program that nobody knows ran meanwhile, and again after a boot without it', async () => {
    const implant = 'cp /usr/bin/factor /root/implant && printf x >>/root/implant && /root/implant 6';
    const { code, record } = await build('implanted', `${implant} && ${BUILDER}`);
    expect(code).toBe(1);
    // Everyday evidence shows it, or else the closing one; it ends every session of the host.
    const ended = ['SESSION_PLATFORM_VIOLATED', 'SESSION_PLATFORM_NOT_VERIFIED'];
    expect(record.error?.code).toBeOneOf([...ended, 'SESSION_NOT_OPEN']);
    const { sessions } = (await site.run('sessions', 'list')) as {
      sessions: { state: string; reason?: { code: string; message: string } }[];
    };
    expect(sessions[0]).toMatchObject({ state: 'failed' });
    expect(sessions[0]?.reason?.code).toBeOneOf(ended);
    const found = await site.try('verify', image('implanted'), '--policy', site.imagePolicy);
    expect(found.json).toMatchObject({ ok: false, refusal: { code: 'OCI_NOT_FOUND' } });
    // The kernel named the file.
    const shown = await device.judged(({ state }) => state !== 'VERIFIED');
    expect(verdict(shown)).toMatchObject({ state: 'VIOLATED', codes: ['IMA_FILE_UNKNOWN'] });
    expect(shown.reasons[0]?.message).toContain('/root/implant');

    expect(verdict(await device.bootHonestly())).toEqual(VERIFIED);
    expect(await build('after', BUILDER)).toMatchObject({ code: 0 });
    await machine.powerOff();
  });
});
