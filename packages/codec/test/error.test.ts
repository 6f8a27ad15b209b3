import { describe, expect, test } from 'vitest';
import { KallioError, refusal } from '../src/index.ts';

describe('a refusal', () => {
  const cause = new Error('the file /secret/key.pem');
  const error = new KallioError('PCR_WRONG', 'PCR 7 differs.', { pointer: 'pcr:7', hint: 'Enrol.', cause });

  test('is an error with a stable code', () => {
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'KallioError', code: 'PCR_WRONG', message: 'PCR 7 differs.' });
    expect(error.cause).toBe(cause);
  });

  test('goes into JSON as what may leave the process: no stack, no cause', () => {
    expect(JSON.parse(JSON.stringify({ error }))).toEqual({
      error: { code: 'PCR_WRONG', message: 'PCR 7 differs.', pointer: 'pcr:7', hint: 'Enrol.' },
    });
  });

  test('is one line that a terminal shows as it stands, whatever of the input it repeats', () => {
    const label = 'web\u001b[2K\r\n✔ policy\n\nVERIFIED \u202esha256\u2028\u009b2J\u{e0001}\ud800';
    const named = (text: string) => [
      new KallioError('PCR_WRONG', `It is ${text}.`, { pointer: `/${text}`, hint: `Not ${text}?` }).toJSON(),
      refusal('PCR_WRONG', `It is ${text}.`, { pointer: `/${text}`, hint: `Not ${text}?` }),
    ];
    for (const { message, pointer, hint } of named('wéb’s ✔ "😀"')) {
      expect([message, pointer, hint]).toEqual(['It is wéb’s ✔ "😀".', '/wéb’s ✔ "😀"', 'Not wéb’s ✔ "😀"?']);
    }
    for (const { message, pointer, hint } of named(label)) {
      expect(`${message}${pointer}${hint}`).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      // As JSON would write it: nothing is lost.
      expect(JSON.parse(`"${message}"`)).toBe(`It is ${label}.`);
    }
  });

  test('has no field for what it was not told', () => {
    const bare = new KallioError('PCR_WRONG', 'PCR 7 differs.', { pointer: undefined, cause: undefined });
    expect(Object.keys(bare)).not.toContain('pointer');
    expect(Object.hasOwn(bare, 'cause')).toBe(false);
    expect(bare.toJSON()).toStrictEqual({ code: 'PCR_WRONG', message: 'PCR 7 differs.' });
    expect(refusal('PCR_WRONG', 'PCR 7 differs.', { cause })).toStrictEqual(bare.toJSON());
  });

  test('as plain data says the same as the error', () => {
    expect(refusal('PCR_WRONG', 'PCR 7 differs.', { pointer: 'pcr:7', hint: 'Enrol.' })).toStrictEqual(
      error.toJSON(),
    );
  });
});
