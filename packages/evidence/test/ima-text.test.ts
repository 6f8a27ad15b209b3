import { toHex, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import {
  decodeImaEntry,
  type EvidenceCode,
  type ImaEntry,
  imaStart,
  readImaLog,
  readImaText,
  replayIma,
} from '../src/index.ts';
import { at } from './support/bytes.ts';
import { captured, pcrsOf, pcrValue } from './support/captured.ts';
import { digestField, type Made, nameField, pcrAfter, textEntry } from './support/ima.ts';
import { code, outcome } from './support/refusal.ts';

const real = new TextDecoder().decode(captured('q1.ima.txt'));

function pcr10(text: string): string {
  return toHex(replayIma(imaStart('sha256'), readImaText(text), 'sha256').pcr);
}

function namesIn(text: string): string[] {
  return [...readImaText(text)].map((entry) => decodeImaEntry(entry).name);
}

describe('the ASCII IMA log of a real boot', () => {
  const lines = real.split('\n').slice(0, -1);

  test('says what the binary log says, and leads to the quoted PCR 10', () => {
    const plain = (entries: Iterable<ImaEntry>) =>
      [...entries].map((entry) => ({ ...entry, data: toHex(entry.data) }));
    expect(plain(readImaText(real))).toEqual(plain(readImaLog(captured('q1.ima.bin'))));
    expect(pcr10(real)).toBe(pcrValue(pcrsOf('debian12-qemu/q1', 15), 10));
  });

  test('goes on from an offset, with its numbers', () => {
    const head = readImaText(lines.slice(0, 20).map(withBreak).join(''));
    const first = replayIma(imaStart('sha256'), head, 'sha256');
    const rest = [...readImaText(lines.slice(20).map(withBreak).join(''), { from: 20 })];
    expect(at(rest, 0).index).toBe(20);
    expect(toHex(replayIma(first, rest, 'sha256').pcr)).toBe(pcr10(real));
  });

  test('is refused with any bit of an entry turned', () => {
    // Stops any change to text: each entry carries the SHA-1 of what was hashed, and the replay carries SHA-256.
    const part = lines.slice(0, 3).map(withBreak).join('');
    namesIn(part);
    const seen = new Set<string>();
    for (let place = 0; place < part.length; place++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = `${part.slice(0, place)}${String.fromCharCode(part.charCodeAt(place) ^ (1 << bit))}${part.slice(place + 1)}`;
        const result = outcome(() => pcr10(changed));
        seen.add('code' in result ? result.code : `bit ${bit} of ${place} is believed`);
      }
    }
    expect([...seen].sort()).toEqual(['IMA_DIGEST', 'IMA_MALFORMED', 'IMA_PCR', 'IMA_TEMPLATE']);
  });

  test('is refused cut inside an entry, and fails the replay cut between entries', () => {
    // Stops the last programs that ran from being cut off. The last line break alone adds nothing.
    const part = lines.slice(0, 4).map(withBreak).join('');
    const value = pcr10(part);
    expect(pcr10(part.slice(0, -1))).toBe(value);
    const ends = new Set(lines.slice(0, 4).map((_, i) => lines.slice(0, i).map(withBreak).join('').length));
    for (let length = 0; length < part.length - 1; length++) {
      const result = outcome(() => pcr10(part.slice(0, length)));
      const between = ends.has(length) || ends.has(length + 1);
      if (between) expect(result).toHaveProperty('value');
      else expect(result, `cut at ${length}`).toHaveProperty('code');
      if ('value' in result) expect(result.value).not.toBe(value);
    }
  });
});

const SHA256 = new Uint8Array(32).fill(7);
const PRINTED = `sha256:${toHex(SHA256)}`;
const SIGNATURE = utf8('a signature');

function ng(name: string, change: Partial<Made> = {}): Made {
  return { template: 'ima-ng', fields: [digestField('sha256', SHA256), nameField(name)], ...change };
}

const line = (name: string, change: Partial<Made> = {}) => textEntry(ng(name, change), [PRINTED, name]);

describe('a line of an ASCII IMA log', () => {
  const digest = digestField('sha256', SHA256);
  const readable: readonly [made: Made, printed: readonly string[]][] = [
    [ng('/bin/sh'), [PRINTED, '/bin/sh']],
    [
      { template: 'ima', fields: [SHA256.subarray(0, 20), utf8('/bin/sh')] },
      [toHex(SHA256.subarray(0, 20)), '/bin/sh'],
    ],
    [
      { template: 'ima-ngv2', fields: [digestField('verity:sha256', SHA256), nameField('/bin/sh')] },
      [`verity:${PRINTED}`, '/bin/sh'],
    ],
    [
      { template: 'ima-sig', fields: [digest, nameField('/bin/sh'), SIGNATURE] },
      [PRINTED, '/bin/sh', toHex(SIGNATURE)],
    ],
    // A file without signature: the kernel prints the space and nothing after it.
    [
      { template: 'ima-sig', fields: [digest, nameField('/bin/sh'), new Uint8Array()] },
      [PRINTED, '/bin/sh', ''],
    ],
    [
      { template: 'ima-buf', fields: [digest, nameField('/bin/sh'), utf8('quiet')] },
      [PRINTED, '/bin/sh', toHex(utf8('quiet'))],
    ],
    [
      { template: 'ima-modsig', fields: [digest, nameField('/bin/sh'), new Uint8Array(), digest, SIGNATURE] },
      [PRINTED, '/bin/sh', '', PRINTED, toHex(SIGNATURE)],
    ],
    [
      { template: 'd-ng|n-ng|sig', fields: [digest, nameField('/bin/sh'), SIGNATURE] },
      [PRINTED, '/bin/sh', toHex(SIGNATURE)],
    ],
  ];
  test.each(readable)('of template $template is read back to the data that was hashed', (made, printed) => {
    expect(namesIn(textEntry(made, printed))).toEqual(['/bin/sh']);
    expect(pcr10(textEntry(made, printed))).toBe(pcrAfter('sha256', [made]));
  });

  const looksLikeEntry = `/tmp/x\n${line('/bin/good').trimEnd()}`;
  test.each([
    ['a space', '/tmp/a b'],
    ['spaces at both ends', ' /tmp/a  b '],
    ['a line break', '/tmp/a\nb'],
    ['a line break at the end', '/tmp/a\n'],
    ['nothing but line breaks', '\n\n'],
    ['no character at all', ''],
    ['a carriage return', '/tmp/a\r\nb'],
    ['letters of other scripts', '/tmp/ä日🌲'],
    // Stops a file's name from adding an entry to the log, or from making it unreadable for good.
    ['a line that is an entry', looksLikeEntry],
    ['lines that are entries only', `\n${line('/bin/a')}${line('/bin/b')}`],
    ['the head of an entry', `/tmp/x\n10 ${'ab'.repeat(20)} ima-ng ${PRINTED} /bin/good`],
  ])('may name a file with %s', (_, name) => {
    expect(namesIn(`${line('/before')}${line(name)}${line('/after')}`)).toEqual(['/before', name, '/after']);
    expect(namesIn(line(name))).toEqual([name]);
    expect(pcr10(`${line(name)}${line('/after')}`)).toBe(pcrAfter('sha256', [ng(name), ng('/after')]));
    const made: Made = { template: 'ima-sig', fields: [digest, nameField(name), SIGNATURE] };
    const signed = textEntry(made, [PRINTED, name, toHex(SIGNATURE)]);
    expect(namesIn(`${signed}${line('/after')}`)).toEqual([name, '/after']);
  });

  test('that is a violation extends all ones, whatever it says', () => {
    // Stops a harmless name from standing where the kernel recorded a violation: nothing of it is believed.
    const violation = ng('/bin/sh', { violation: true });
    const text = `${line('/a')}${line('/bin/sh', { violation: true })}${line('/b')}`;
    expect([...readImaText(text)].map((entry) => entry.violation)).toEqual([false, true, false]);
    expect(pcr10(text)).toBe(pcrAfter('sha256', [ng('/a'), violation, ng('/b')]));
    expect(pcr10(text.replace('/bin/sh', '/bin/ok'))).toBe(pcr10(text));
    expect(pcr10(`${line('/a')}${line('/bin/sh')}${line('/b')}`)).not.toBe(pcr10(text));
  });

  const good = line('/bin/sh');
  const flaws: readonly [string, EvidenceCode, string][] = [
    // Stops entries that were extended elsewhere from being taken for proved by PCR 10.
    ['is of PCR 11', 'IMA_PCR', line('/bin/sh', { pcr: 11 })],
    // Stops text of another kind, or a template that nobody can read, from being skipped as if it were a comment.
    ['is no entry', 'IMA_MALFORMED', 'this is no entry\n'],
    ['is empty', 'IMA_MALFORMED', '\n'],
    ['has a space before it', 'IMA_MALFORMED', ` ${good}`],
    [
      'has its template digest in capitals',
      'IMA_MALFORMED',
      good.replace(/[0-9a-f]{40}/, (hex) => hex.toUpperCase()),
    ],
    [
      'has an unknown template',
      'IMA_TEMPLATE',
      textEntry({ ...ng('/bin/sh'), template: 'ima-x' }, [PRINTED, '/bin/sh']),
    ],
    [
      'has its name first',
      'IMA_TEMPLATE',
      textEntry({ template: 'n-ng|d-ng', fields: [] }, ['/bin/sh', PRINTED]),
    ],
    [
      'has fields that are printed as they can’t be read back',
      'IMA_TEMPLATE',
      textEntry({ template: 'evm-sig', fields: [] }, [
        PRINTED,
        '/bin/sh',
        '',
        'user.x',
        '01',
        '02',
        '0',
        '0',
        '0644',
      ]),
    ],
    ['ends after its digest', 'IMA_TEMPLATE', `10 ${'ab'.repeat(20)} ima-ng ${PRINTED}\n`],
    // Stops a second spelling of a digest, under which a reference value is not found.
    [
      'has its digest in capitals',
      'IMA_TEMPLATE',
      textEntry(ng('/bin/sh'), [`sha256:${'AB'.repeat(32)}`, '/bin/sh']),
    ],
    ['has half a byte of digest', 'IMA_TEMPLATE', textEntry(ng('/bin/sh'), [`${PRINTED}0`, '/bin/sh'])],
    // Stops a known program's digest or name in place of what ran.
    ['has another digest', 'IMA_DIGEST', textEntry(ng('/bin/sh'), [`sha256:${'08'.repeat(32)}`, '/bin/sh'])],
    ['has another name', 'IMA_DIGEST', textEntry(ng('/bin/sh'), [PRINTED, '/bin/good'])],
    ['names another algorithm', 'IMA_DIGEST', good.replace('sha256:', 'sha512:')],
    [
      'has a name that template ima cuts',
      'IMA_TEMPLATE',
      textEntry({ template: 'ima', fields: [SHA256.subarray(0, 20), utf8('/')] }, [
        toHex(SHA256.subarray(0, 20)),
        `/${'a'.repeat(255)}`,
      ]),
    ],
  ];
  test.each(flaws)('is refused when it %s, and the entry is named', (_, expected, text) => {
    expect(namesIn(good)).toEqual(['/bin/sh']);
    expect(() => [...readImaText(text, { from: 7 })]).toThrow(code(expected, 'ima:7'));
  });

  test('does not swallow the lines after it for ever', () => {
    // Stops one broken entry from costing a search through the whole log: the search ends after the longest path.
    const broken = textEntry(ng('/bin/sh'), [PRINTED, '/bin/evil']);
    const long = broken + line('/bin/x').repeat(20_000);
    expect(() => [...readImaText(long)]).toThrow(code('IMA_DIGEST', 'ima:0'));
    expect(() => [...readImaText(line('/a') + broken + line('/b'))]).toThrow(code('IMA_DIGEST', 'ima:1'));
  });
});

test('text as long as the limit is read, longer text is refused unread', () => {
  // Stops a list from taking the server's memory.
  expect(namesIn(line('/a'))).toHaveLength(1);
  const maxBytes = line('/a').length;
  expect([...readImaText(line('/a'), { maxBytes })]).toHaveLength(1);
  expect(() => [...readImaText(line('/a'), { maxBytes: maxBytes - 1 })]).toThrow(code('IMA_TOO_LARGE'));
});

function withBreak(text: string): string {
  return `${text}\n`;
}
