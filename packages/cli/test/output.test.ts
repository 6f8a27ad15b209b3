import { KallioError } from '@kallio/codec';
import { expect, it } from 'vitest';
import { Output } from '../src/output/output.ts';

/** Clears the line, starts it again, and says something else. */
const HOSTILE = 'web\u001b[2K\r✔ VERIFIED\u009b2J \u202e';
const OBEYED = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** What is written of a label: as a result and one of a row, on the way, and in a refusal. */
function written(label: string, json: boolean): string {
  let all = '';
  const take = (text: string) => {
    all += text;
  };
  const output = new Output({ out: take, err: take, isTerminal: true }, json);
  output.result({ label }, `label ${label}\nand more`);
  output.item({ label }, `label ${label}`);
  output.progress(`label ${label}`);
  output.failure(new KallioError('CLAIM_LABEL', `The label is ${label}.`, { pointer: `/${label}` }));
  output.failure(new Error(label));
  return all;
}

it('writes what others wrote as it is, and nothing that a terminal would obey', () => {
  for (const json of [false, true]) {
    expect(written('wéb ✔ 😀', json).match(/wéb ✔ 😀/g)).toHaveLength(json ? 5 : 6);
    expect(written('wéb ✔ 😀', json)).not.toMatch(OBEYED);
    expect(written(HOSTILE, json)).not.toMatch(OBEYED);
  }
  const [, document = ''] = /^(\{\n {2}"label": "[^\n]+"\n\}\n)/.exec(written(HOSTILE, true)) ?? [];
  expect(JSON.parse(document)).toEqual({ label: HOSTILE });
  expect(written(HOSTILE, false)).toMatch(/^label web\S+/);
});

it('keeps a result’s lines apart, and lets a refusal repeat none', () => {
  const refused = (label: string) => {
    let text = '';
    const take = (more: string) => {
      text += more;
    };
    const output = new Output({ out: take, err: take, isTerminal: true }, false);
    output.failure(new KallioError('CLAIM_LABEL', `The label is ${label}.`));
    return text;
  };
  expect(written('web', false)).toContain('label web\nand more\n');
  expect(refused('web')).toBe('CLAIM_LABEL: The label is web.\n');
  expect(refused('web\n\nVERIFIED')).toBe('CLAIM_LABEL: The label is web\\u000a\\u000aVERIFIED.\n');
});
