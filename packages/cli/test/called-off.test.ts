import { digestOf, utf8 } from '@kallio/codec';
import { copyImage, type ImageTarget, type Layout, MEDIA } from '@kallio/oci';
import { describe, expect, it } from 'vitest';
import { Clock } from '../src/build/clock.ts';
import { guardedLayout, guardedTarget } from '../src/build/guard.ts';
import { Interrupted, interruptible, unlessStopped } from '../src/build/interrupt.ts';

const never = () => new Promise<never>(() => undefined);

describe('a build that a signal calls off', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)(
    '%s: ends what is waited for, with the exit code that a shell would tell',
    async (signal, exit) => {
      const listeners = process.listenerCount(signal);
      const work = interruptible(async (stop) => {
        process.kill(process.pid, signal);
        return unlessStopped(stop, never);
      });
      await expect(work).rejects.toMatchObject({ code: 'BUILD_INTERRUPTED', exit });
      await expect(work).rejects.toBeInstanceOf(Interrupted);
      expect(process.listenerCount(signal)).toBe(listeners);
      // Without a signal it is waited for, and nobody listens afterwards either.
      expect(await interruptible((stop) => unlessStopped(stop, async () => 'done'))).toBe('done');
      expect(process.listenerCount(signal)).toBe(listeners);
    },
  );

  it('begins no further step, and waits only for one that puts away what it made', async () => {
    const stop = new AbortController();
    const clock = new Clock(() => undefined, stop.signal);
    let putAway = false;
    const own = clock.own('build', async () => {
      stop.abort(new Error('called off'));
      await new Promise((resolve) => setTimeout(resolve, 20));
      putAway = true;
    });
    await own;
    expect(putAway).toBe(true);
    let begun = false;
    await expect(
      clock.step('push', async () => {
        begun = true;
      }),
    ).rejects.toThrow('called off');
    expect(begun).toBe(false);
  });

  it('pushes nothing more, whatever is still at work', async () => {
    const config = utf8('{}');
    const layer = utf8('layer');
    const described = (bytes: Uint8Array) => ({
      mediaType: MEDIA.layer,
      digest: digestOf(bytes),
      size: bytes.length,
    });
    const bytes = utf8(
      JSON.stringify({
        schemaVersion: 2,
        config: { ...described(config), mediaType: MEDIA.config },
        layers: [described(layer)],
      }),
    );
    const found = { bytes, digest: digestOf(bytes), mediaType: MEDIA.manifest };
    const layout: Layout = {
      manifests: [],
      manifest: async () => found,
      blob: async () => config,
      content: async () => config,
      stream: async () =>
        (async function* () {
          yield layer;
        })(),
    };
    const pushed = async (whenStopped?: 'blob' | 'manifest') => {
      const stop = new AbortController();
      const called: string[] = [];
      const end = (what: string) => {
        called.push(what);
        if (what === whenStopped) stop.abort(new Error('called off'));
      };
      const target: ImageTarget = {
        pushBlob: async () => {
          end('blob');
          return described(config);
        },
        pushStream: async (_, open) => {
          for await (const piece of await open()) expect(piece).toEqual(layer);
          end('layer');
        },
        pushManifest: async () => {
          end('manifest');
          return found.digest;
        },
        pushReferrer: async () => found.digest,
        settle: async () => end('settled'),
      };
      const guarded = guardedTarget(target, stop.signal);
      const ended = await copyImage(guardedLayout(layout, stop.signal), found, guarded, 'tag').then(
        () => 'done',
        (error: Error) => error.message,
      );
      return [...called, ended];
    };
    expect(await pushed()).toEqual(['layer', 'blob', 'manifest', 'done']);
    expect(await pushed('blob')).toEqual(['layer', 'blob', 'called off']);
  });
});

describe('the time that a session costs', () => {
  it('is all steps but the builder’s and the push, and what was done beside them', async () => {
    const clock = new Clock(() => undefined, new AbortController().signal);
    const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
    await clock.step('open', slow);
    await clock.own('build', slow, 'builder');
    clock.meanwhile('evidence', 70.4);
    clock.meanwhile('nothing', 0);
    await clock.step('push', slow, 'push');
    const { steps, sessionMs } = clock.times();
    expect(steps.map(({ name, kind }) => [name, kind])).toEqual([
      ['open', 'session'],
      ['build', 'builder'],
      ['evidence', 'session'],
      ['push', 'push'],
    ]);
    expect(sessionMs).toBe(70 + (steps[0]?.ms ?? 0));
  });
});
