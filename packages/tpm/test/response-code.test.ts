import { describe, expect, it } from 'vitest';
import { decodeResponseCode, flushContext, getRandom, nvReadPublic, Tpm } from '../src/index.ts';
import { refusalOf } from './support/refusal.ts';
import { answer, Scripted } from './support/scripted.ts';
import { Swtpm } from './support/swtpm.ts';

describe('response codes in words', () => {
  // Part 2 section 6.6.2, figure 1: format-one codes carry a number in bits 8 to 11.
  const codes: readonly (readonly [number, string, string | undefined])[] = [
    [0x100, 'TPM_RC_INITIALIZE', undefined],
    [0x143, 'TPM_RC_COMMAND_CODE', undefined],
    [0x18b, 'TPM_RC_HANDLE', 'handle 1'],
    [0x28b, 'TPM_RC_HANDLE', 'handle 2'],
    [0x08e, 'TPM_RC_AUTH_FAIL', undefined],
    [0x98e, 'TPM_RC_AUTH_FAIL', 'session 1'],
    [0xaa2, 'TPM_RC_BAD_AUTH', 'session 2'],
    [0x1d5, 'TPM_RC_SIZE', 'parameter 1'],
    [0x2c4, 'TPM_RC_VALUE', 'parameter 2'],
    [0x9a2, 'TPM_RC_BAD_AUTH', 'session 1'],
    [0x99d, 'TPM_RC_POLICY_FAIL', 'session 1'],
    [0x902, 'TPM_RC_OBJECT_MEMORY', undefined],
    [0x903, 'TPM_RC_SESSION_MEMORY', undefined],
    [0x90a, 'TPM_RC_TESTING', undefined],
    [0x921, 'TPM_RC_LOCKOUT', undefined],
    [0x922, 'TPM_RC_RETRY', undefined],
    [0x97f, 'TPM_RC_0x97f', undefined],
    [0x01e, 'TPM_RC_0x01e', undefined],
  ];
  for (const [code, name, about] of codes) {
    it(`0x${code.toString(16)} is ${name}${about === undefined ? '' : ` about ${about}`}`, () => {
      const decoded = decodeResponseCode(code);
      expect(decoded.name).toBe(name);
      expect(decoded.about && `${decoded.about.kind} ${decoded.about.number}`).toBe(about);
      expect(decoded.text).not.toBe('');
    });
  }

  it('stand in the refusal, with the command and the number', async () => {
    const refusal = await refusalOf(getRandom(new Tpm(new Scripted(answer(0x1d5))), 1));
    expect(refusal?.message).toBe(
      'TPM2_GetRandom was refused: TPM_RC_SIZE (parameter 1): the size is wrong.',
    );
    expect(refusal?.pointer).toBe('0x1d5');
  });

  it('are what a real TPM gives', async () => {
    const swtpm = await Swtpm.start();
    try {
      const tpm = swtpm.open();
      expect((await refusalOf(flushContext(tpm, 0x8000_0000)))?.message).toMatch(
        /TPM_RC_HANDLE \(parameter 1\)/,
      );
      expect(await nvReadPublic(tpm, 0x0150_0000)).toBeUndefined();
      await tpm.close();
    } finally {
      await swtpm.remove();
    }
  });
});
