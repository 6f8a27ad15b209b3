import { describe, expect, it } from 'vitest';
import { getRandom, Tpm, type Transport } from '../src/index.ts';
import { codeOf } from './support/refusal.ts';
import { answer, Scripted } from './support/scripted.ts';

const one = (byte: number) => answer(0, Uint8Array.of(0, 1, byte));

describe('commands', () => {
  it('go one at a time, in the order they were given', async () => {
    let underWay = 0;
    let most = 0;
    let count = 0;
    const transport: Transport = {
      async send() {
        most = Math.max(most, ++underWay);
        await new Promise((resolve) => setTimeout(resolve, 5));
        underWay--;
        return one(count++);
      },
      close: async () => undefined,
    };
    const tpm = new Tpm(transport);
    const given = await Promise.all(Array.from({ length: 10 }, () => getRandom(tpm, 1)));
    expect(given.map(([byte]) => byte)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(most).toBe(1);
  });

  it('that fail do not hold up those behind them', async () => {
    const tpm = new Tpm(new Scripted(answer(0x101), one(7)));
    const [first, second] = await Promise.all([codeOf(getRandom(tpm, 1)), getRandom(tpm, 1)]);
    expect(first).toBe('TPM_RESPONSE');
    expect(second).toEqual(Uint8Array.of(7));
  });

  it('under way are waited for on closing', async () => {
    const script = new Scripted(one(1));
    const tpm = new Tpm(script);
    const random = getRandom(tpm, 1);
    await tpm.close();
    expect(script.closed).toBe(true);
    expect(await random).toEqual(Uint8Array.of(1));
  });
});

describe('a response', () => {
  const refused: readonly (readonly [string, Uint8Array])[] = [
    ['whose size is not its length', Uint8Array.of(0x80, 1, 0, 0, 0, 14, 0, 0, 0, 0, 0, 1, 7)],
    ['whose tag is none', Uint8Array.of(0x81, 1, 0, 0, 0, 13, 0, 0, 0, 0, 0, 1, 7)],
    ['with sessions that the command had not', Uint8Array.of(0x80, 2, 0, 0, 0, 13, 0, 0, 0, 0, 0, 1, 7)],
  ];
  for (const [what, bytes] of refused) {
    it(`${what} is refused`, async () => {
      expect(await codeOf(getRandom(new Tpm(new Scripted(bytes)), 1))).toBe('TPM_RESPONSE_MALFORMED');
    });
  }

  it('that is cut, or goes on after its end, is refused', async () => {
    const whole = Uint8Array.of(0, 2, 7, 8);
    expect(await getRandom(new Tpm(new Scripted(answer(0, whole))), 2)).toEqual(Uint8Array.of(7, 8));
    for (const body of [Uint8Array.of(0, 2, 7), Uint8Array.of(0)]) {
      expect(await codeOf(getRandom(new Tpm(new Scripted(answer(0, body))), 2))).toBe('CODEC_TRUNCATED');
    }
    const long = answer(0, Uint8Array.of(...whole, 9));
    expect(await codeOf(getRandom(new Tpm(new Scripted(long)), 2))).toBe('CODEC_TRAILING');
  });
});
