import { setTimeout as wait } from 'node:timers/promises';
import { utf8 } from '@kallio/codec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Authorization,
  create,
  createPrimary,
  ekTemplate,
  flushContext,
  getRandom,
  HANDLE,
  load,
  openTransport,
  sealedTemplate,
  startSession,
  storageTemplate,
  Tpm,
  type TpmResponseError,
  unseal,
} from '../src/index.ts';
import { codeOf, refusalOf } from './support/refusal.ts';
import { answer, Scripted } from './support/scripted.ts';
import { Swtpm } from './support/swtpm.ts';

const OK = answer(0, Uint8Array.of(0, 1, 42));
const BUSY: readonly (readonly [string, number])[] = [
  ['YIELDED', 0x908],
  ['TESTING', 0x90a],
  ['RETRY', 0x922],
];

describe('a TPM that is busy', () => {
  for (const [name, code] of BUSY) {
    it(`is asked again, with the same bytes: ${name}`, async () => {
      const script = new Scripted(answer(code), answer(code), answer(code), OK);
      expect(await getRandom(new Tpm(script), 1)).toEqual(Uint8Array.of(42));
      expect(script.commands).toHaveLength(4);
      expect(new Set(script.commands.map((command) => Buffer.from(command).toString('hex'))).size).toBe(1);
    });

    it(`is not asked for ever: ${name} is TPM_BUSY with a hint`, async () => {
      const script = new Scripted(...Array.from({ length: 100 }, () => answer(code)));
      const started = performance.now();
      const refusal = await refusalOf(getRandom(new Tpm(script, 200), 1));
      expect(performance.now() - started).toBeLessThan(1000);
      expect(refusal?.code).toBe('TPM_BUSY');
      expect(refusal?.hint).toMatch(/again/);
      expect(script.commands.length).toBeGreaterThan(3);
    });
  }

  it('holds up those behind it, and no order changes', async () => {
    const tpm = new Tpm(new Scripted(answer(0x922), OK, answer(0, Uint8Array.of(0, 1, 43))));
    const given = await Promise.all([getRandom(tpm, 1), getRandom(tpm, 1)]);
    expect(given.map(([byte]) => byte)).toEqual([42, 43]);
  });

  it('is told from one that refuses: another code is not sent again', async () => {
    const script = new Scripted(answer(0x101), OK);
    expect(await codeOf(getRandom(new Tpm(script), 1))).toBe('TPM_RESPONSE');
    expect(script.commands).toHaveLength(1);
  });
});

describe('a real TPM', () => {
  let swtpm: Swtpm;
  let tpm: Tpm;
  beforeAll(async () => {
    swtpm = await Swtpm.start();
    tpm = swtpm.open();
  });
  afterAll(async () => {
    await tpm.close();
    await swtpm.remove();
  });

  it('whose object memory is full says so, with a hint, and goes on once one is flushed', async () => {
    const loaded: number[] = [];
    const refusal = await refusalOf(async () => {
      for (let i = 0; i < 20; i++) {
        loaded.push((await createPrimary(tpm, HANDLE.owner, storageTemplate())).handle);
      }
    });
    expect(refusal?.code).toBe('TPM_OBJECT_MEMORY');
    expect((refusal as TpmResponseError).responseCode).toBe(0x902);
    expect(refusal?.hint).toMatch(/tpmrm0/);
    await flushContext(tpm, loaded.pop() ?? 0);
    loaded.push((await createPrimary(tpm, HANDLE.owner, storageTemplate())).handle);
    for (const handle of loaded) await flushContext(tpm, handle);
  });

  it('whose session memory is full says so, with a hint, and goes on once one is flushed', async () => {
    const started: number[] = [];
    const refusal = await refusalOf(async () => {
      for (let i = 0; i < 100; i++) started.push((await startSession(tpm)).handle);
    });
    expect(refusal?.code).toBe('TPM_SESSION_MEMORY');
    expect(refusal?.hint).toMatch(/tpm2_flushcontext/);
    await flushContext(tpm, started.pop() ?? 0);
    started.push((await startSession(tpm)).handle);
    for (const handle of started) await flushContext(tpm, handle);
  });

  it('in lockout says so, with a hint, to the right authorization too; and forgives', async () => {
    const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
    const made = await create(tpm, root, sealedTemplate(), { userAuth: utf8('right'), data: utf8('data') });
    await flushContext(tpm, root);
    const opened = async (text: string) => {
      const again = await createPrimary(tpm, HANDLE.owner, storageTemplate());
      const sealed = await load(tpm, again, made);
      const password: Authorization = { kind: 'password', password: utf8(text) };
      try {
        return await unseal(tpm, sealed, { authorizations: [password] });
      } finally {
        await flushContext(tpm, sealed);
        await flushContext(tpm, again);
      }
    };
    expect(await opened('right')).toEqual(utf8('data'));
    const codes: (string | undefined)[] = [];
    while (codes.at(-1) !== 'TPM_LOCKOUT' && codes.length < 40) codes.push(await codeOf(opened('wrong')));
    expect(codes.slice(0, -1)).toContain('TPM_RESPONSE');
    const refusal = await refusalOf(opened('right'));
    expect(refusal?.code).toBe('TPM_LOCKOUT');
    expect(refusal?.hint).toMatch(/tpm2_dictionarylockout/);
    await tpm.close();
    swtpm.tool('tpm2_dictionarylockout', '--clear-lockout');
    expect(await opened('right')).toEqual(utf8('data'));
  });

  it('that stalls is TPM_STALLED with a hint; once it goes on, so do we', async () => {
    // swtpm takes one client at a time.
    await tpm.close();
    const impatient = new Tpm(openTransport(swtpm.address, 300));
    await getRandom(impatient, 4);
    swtpm.stall(true);
    const refusal = await refusalOf(getRandom(impatient, 4));
    expect(refusal?.code).toBe('TPM_STALLED');
    expect(refusal?.hint).toMatch(/10 s/);
    swtpm.stall(false);
    await wait(50);
    expect(await getRandom(impatient, 4)).toHaveLength(4);
    await impatient.close();
  });

  it('that goes away under a command is TPM_DISCONNECTED with a hint, then TPM_UNREACHABLE; once back, we are', async () => {
    await getRandom(tpm, 4);
    const slow = refusalOf(createPrimary(tpm, HANDLE.endorsement, ekTemplate('rsa2048')));
    swtpm.stall(true);
    await wait(20);
    await swtpm.powerOff();
    expect(await slow).toMatchObject({ code: 'TPM_DISCONNECTED', hint: expect.stringMatching(/unknown/) });
    expect(await codeOf(getRandom(tpm, 4))).toBe('TPM_UNREACHABLE');
    await swtpm.powerOn();
    expect(await getRandom(tpm, 4)).toHaveLength(4);
  });
});
