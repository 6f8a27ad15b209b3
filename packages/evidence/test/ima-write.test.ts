import { concat, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { readImaLog, readImaText, writeImaLog } from '../src/index.ts';
import { captured } from './support/captured.ts';
import { binaryEntry, digestField, nameField } from './support/ima.ts';

describe('writing an IMA log', () => {
  it('gives the kernel’s bytes again, of every form of entry', () => {
    const digest = new Uint8Array(32).fill(5);
    const fields = [digestField('sha256', digest), nameField('/bin/sh')];
    const made = concat(
      binaryEntry({ template: 'ima', fields: [new Uint8Array(20).fill(3), utf8('/etc/a file')] }),
      binaryEntry({ template: 'ima-ng', fields }),
      binaryEntry({ template: 'ima-ng', fields, violation: true }),
      binaryEntry({ template: 'ima-sig', fields: [...fields, new Uint8Array(70_000).fill(9)] }),
    );
    for (const bytes of [made, captured('q1.ima.bin'), captured('q3.ima.bin'), new Uint8Array()]) {
      expect(Buffer.from(writeImaLog(readImaLog(bytes))).equals(bytes)).toBe(true);
    }
  });

  it('turns the text list into the binary one', () => {
    const text = Buffer.from(captured('q1.ima.txt')).toString();
    expect(Buffer.from(writeImaLog(readImaText(text))).equals(captured('q1.ima.bin'))).toBe(true);
  });
});
