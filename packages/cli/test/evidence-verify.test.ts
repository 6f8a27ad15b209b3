import { generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bareTpmPolicy } from '@kallio/appraisal';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './support/program.ts';
import { ToolTpm, UNRESTRICTED } from './support/tpm2-tools.ts';

const NONCE = '5a'.repeat(32);
const ALL = `sha256:${Array.from({ length: 16 }, (_, pcr) => pcr).join(',')}`;

interface Files {
  readonly ak: string;
  readonly message: string;
  readonly signature: string;
  readonly pcrs: string;
  readonly nonce: string;
  readonly policy?: string;
  readonly eventlog?: string;
  readonly ima?: string;
}

interface Outcome {
  readonly exit: number;
  readonly state?: string;
  readonly authentic?: boolean;
  /** Codes of the refusals, or of the error. */
  readonly codes: readonly string[];
  /** Steps that were refused, each once. */
  readonly refused: readonly string[];
  readonly limits: string;
}

async function verify(files: Files): Promise<Outcome> {
  const flags = Object.entries(files).flatMap(([name, value]) => [`--${name}`, value]);
  const { exit, out } = await run('evidence', 'verify', ...flags, '--json');
  const document = JSON.parse(out);
  if (document.error !== undefined) return { exit, codes: [document.error.code], refused: [], limits: '' };
  const { state, authentic, refusals, steps, limits } = document;
  return {
    exit,
    state,
    authentic,
    codes: refusals.map(({ code }: { code: string }) => code),
    refused: [
      ...new Set<string>(
        steps
          .filter(({ status }: { status: string }) => status === 'refused')
          .map(({ step }: { step: string }) => step),
      ),
    ],
    limits: limits.join(' '),
  };
}

const VERIFIED = { exit: 0, state: 'VERIFIED', authentic: true, codes: [], refused: [] };

/** Not what it claims: nothing is known of the machine. */
function unauthentic(code: string, step: string) {
  return { exit: 1, state: 'UNKNOWN', authentic: false, codes: [code], refused: [step] };
}

let tpm: ToolTpm;
beforeAll(async () => {
  tpm = await ToolTpm.start();
  tpm.key('ecc', 'ecc:ecdsa-sha256:null');
  tpm.key('rsassa', 'rsa2048:rsassa-sha256:null');
  tpm.key('rsapss', 'rsa2048:rsapss-sha256:null');
  for (const key of ['ecc', 'rsassa', 'rsapss']) tpm.quote(key, key, NONCE, ALL, ...schemeOf(key));
  writeFileSync(tpm.path('policy.json'), JSON.stringify(bareTpmPolicy('bare')));
});
afterAll(() => tpm.remove());

/** The tools take RSASSA for every RSA key unless they are told. */
function schemeOf(key: string): string[] {
  return key === 'rsapss' ? ['--scheme', 'rsapss'] : [];
}

/** The honest quote of a key. */
function files(key = 'ecc', change: Partial<Record<keyof Files, string>> = {}): Files {
  const { nonce = NONCE, ...names } = change;
  const paths = Object.fromEntries(
    Object.entries({
      ...{ ak: `${key}.pub`, message: `${key}.msg`, signature: `${key}.sig`, pcrs: `${key}.pcrs` },
      policy: 'policy.json',
      ...names,
    }).map(([flag, name]) => [flag, tpm.path(name)]),
  );
  return { ak: '', message: '', signature: '', pcrs: '', ...paths, nonce };
}

/** A copy of a file with its bytes changed. */
function changed(file: string, change: (bytes: Buffer) => Uint8Array): string {
  const name = `${file}.changed`;
  writeFileSync(tpm.path(name), change(readFileSync(tpm.path(file))));
  return name;
}

describe('what tpm2-tools write', () => {
  it.each(['ecc', 'rsassa', 'rsapss'])('is VERIFIED: a quote by a key of %s', async (key) => {
    expect(await verify(files(key))).toMatchObject(VERIFIED);
  });

  it.each(['ecc', 'rsassa', 'rsapss'])('is read in every form of key and signature: %s', async (key) => {
    tpm.quote(`${key}-plain`, key, NONCE, ALL, '-f', 'plain', ...schemeOf(key));
    const plain = { message: `${key}-plain.msg`, signature: `${key}-plain.sig` };
    for (const ak of [`${key}.pub`, `${key}.tpmt`]) {
      expect(await verify(files(key, { ak, ...plain }))).toMatchObject(VERIFIED);
    }
    const pem = await verify(files(key, { ak: `${key}.pem`, ...plain }));
    expect(pem).toMatchObject(VERIFIED);
    expect(pem.limits).toMatch(/The AK is a PEM key/);
    expect(await verify(files(key, { ak: `${key}.pem` }))).toMatchObject(VERIFIED);
  });

  it('is read with a message in a TPM2B_ATTEST', async () => {
    const message = changed('ecc.msg', (bytes) => {
      const size = Buffer.alloc(2);
      size.writeUInt16BE(bytes.length);
      return Buffer.concat([size, bytes]);
    });
    expect(await verify(files('ecc', { message }))).toMatchObject(VERIFIED);
  });

  it('is read with PCR values alone, and as a TPM marshals them', async () => {
    tpm.quote('values', 'ecc', NONCE, ALL, '-F', 'values');
    expect(readFileSync(tpm.path('values.pcrs'))).toHaveLength(16 * 32);
    expect(await verify(files('values', { ak: 'ecc.pub' }))).toMatchObject(VERIFIED);
    // tpm2-tools 5.8: TPML_PCR_SELECTION, the number of lists, the lists.
    const values = readFileSync(tpm.path('values.pcrs'));
    const list = (from: number) =>
      Buffer.concat([
        Buffer.from([0, 0, 0, 8]),
        ...Array.from({ length: 8 }, (_, i) =>
          Buffer.concat([Buffer.from([0, 32]), values.subarray((from + i) * 32, (from + i + 1) * 32)]),
        ),
      ]);
    const selection = Buffer.from([0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0]);
    const marshaled = [selection, Buffer.from([0, 0, 0, 2]), list(0), list(8)];
    writeFileSync(tpm.path('marshaled.pcrs'), Buffer.concat(marshaled));
    expect(await verify(files('values', { ak: 'ecc.pub', pcrs: 'marshaled.pcrs' }))).toMatchObject(VERIFIED);
  });

  it('is authentic and UNKNOWN without a policy: never a pass', async () => {
    const { policy: _, ...without } = files();
    expect(await verify(without)).toMatchObject({
      exit: 1,
      state: 'UNKNOWN',
      authentic: true,
      codes: ['POLICY_NONE'],
      refused: ['policy'],
    });
  });

  it('is told step by step to a person', async () => {
    const flags = Object.entries(files()).flatMap(([name, value]) => [`--${name}`, value]);
    const { exit, out } = await run('evidence', 'verify', ...flags);
    expect(exit).toBe(0);
    expect(out).toMatch(/✔ AK .*ECC P-256, restricted/);
    expect(out).toMatch(/✔ selection .*sha256:0,1,2/);
    expect(out).toMatch(/- IMA log {5}None is shown/);
    expect(out).toMatch(/\nVERIFIED, tier C\n/);
  });
});

describe('a forged quote', () => {
  it('is refused with PCR values under another selection than was signed (CVE-2024-29039)', async () => {
    expect(await verify(files())).toMatchObject(VERIFIED);
    // 16 and 23 PCRs are resettable: anybody can give them the values that PCRs 0 and 1 should have.
    tpm.quote('other', 'ecc', NONCE, 'sha256:16,23');
    tpm.quote('claimed', 'ecc', NONCE, 'sha256:0,1');
    const forged = files('other', { ak: 'ecc.pub', pcrs: 'claimed.pcrs' });
    // The values hash to the digest that was signed: only the selections differ.
    expect(readFileSync(tpm.path('other.msg')).subarray(-32)).toEqual(
      readFileSync(tpm.path('claimed.msg')).subarray(-32),
    );
    expect(await verify(forged)).toMatchObject(unauthentic('QUOTE_SELECTION', 'selection'));
    const { policy: _, ...without } = forged;
    expect(await verify(without)).toMatchObject(unauthentic('QUOTE_SELECTION', 'selection'));
  });

  it('is refused with the file’s selection changed', async () => {
    const pcrs = changed('ecc.pcrs', (bytes) => {
      bytes[4 + 3 + 1] = 0x7f; // PCR 15 …
      bytes[4 + 3 + 2] = 0x01; // … becomes PCR 16
      return bytes;
    });
    expect(await verify(files())).toMatchObject(VERIFIED);
    expect(await verify(files('ecc', { pcrs }))).toMatchObject(unauthentic('PCR_NOT_QUOTED', 'PCR values'));
    const { policy: _, ...without } = files('ecc', { pcrs });
    expect(await verify(without)).toMatchObject(unauthentic('QUOTE_SELECTION', 'selection'));
  });

  it('is refused of another bank, or of two', async () => {
    const pcrs = ALL.replace('sha256:', '');
    tpm.quote('sha1', 'ecc', NONCE, `sha1:${pcrs}`);
    tpm.quote('two', 'ecc', NONCE, `sha1:${pcrs}+${ALL}`);
    expect(await verify(files())).toMatchObject(VERIFIED);
    for (const name of ['sha1', 'two']) {
      expect(await verify(files(name, { ak: 'ecc.pub' }))).toMatchObject(
        unauthentic('QUOTE_SELECTION', 'selection'),
      );
    }
    const offered = await verify(files('ecc', { pcrs: 'sha1.pcrs' }));
    expect(offered).toMatchObject(unauthentic('PCR_BANK_NOT_QUOTED', 'PCR values'));
  });

  it('is refused for another nonce', async () => {
    expect(await verify(files())).toMatchObject(VERIFIED);
    const other = await verify(files('ecc', { nonce: `5b${NONCE.slice(2)}` }));
    expect(other).toMatchObject(unauthentic('QUOTE_BINDING', 'nonce'));
    expect((await verify(files('ecc', { nonce: '' }))).codes).toEqual(['CLI_NONCE']);
  });

  it('is refused when it is a certification by the same AK', async () => {
    tpm.tool(
      'tpm2_certify',
      ...['-c', 'rsassa.ctx', '-C', 'ecc.ctx', '-g', 'sha256', '-o', 'certify.msg', '-s', 'certify.sig'],
    );
    const change = { message: 'certify.msg', signature: 'certify.sig' };
    expect(await verify(files())).toMatchObject(VERIFIED);
    expect(await verify(files('ecc', change))).toMatchObject(unauthentic('QUOTE_TYPE', 'message'));
  });

  it('is refused with values that the TPM did not sign', async () => {
    const pcrs = changed('ecc.pcrs', (bytes) => bytes.fill(1, 136 + 6, 136 + 7));
    expect(await verify(files())).toMatchObject(VERIFIED);
    expect(await verify(files('ecc', { pcrs }))).toMatchObject(unauthentic('PCR_DIGEST', 'PCR values'));
  });

  it('is refused by another key', async () => {
    tpm.key('stranger', 'ecc:ecdsa-sha256:null');
    expect(await verify(files())).toMatchObject(VERIFIED);
    for (const ak of ['stranger.pub', 'stranger.pem', 'rsassa.pub', 'rsassa.pem']) {
      const other = await verify(files('ecc', { ak }));
      expect(other, ak).toMatchObject(unauthentic('QUOTE_SIGNATURE', 'signature'));
    }
  });
});

describe('a weak key', () => {
  it('that signs SHA-1 digests is refused, and so is its signature under a key that does not say so', async () => {
    tpm.key('sha1-key', 'ecc:ecdsa-sha1:null');
    tpm.quote('sha1-key', 'sha1-key', NONCE, ALL, '-g', 'sha1');
    expect(await verify(files('ecc', { ak: 'ecc.pem' }))).toMatchObject(VERIFIED);
    expect(await verify(files('sha1-key'))).toMatchObject(unauthentic('TPM_SHA1', 'AK'));
    const pem = await verify(files('sha1-key', { ak: 'sha1-key.pem' }));
    expect(pem).toMatchObject(unauthentic('QUOTE_SIGNATURE', 'signature'));
  });

  it('that is not restricted is refused where its public area shows it; PEM says that it shows nothing', async () => {
    tpm.key('free', 'ecc:ecdsa-sha256:null', UNRESTRICTED);
    tpm.quote('free', 'free', NONCE, ALL);
    for (const ak of ['free.pub', 'free.tpmt']) {
      expect(await verify(files('free', { ak }))).toMatchObject(unauthentic('TPM_KEY_RESTRICTION', 'AK'));
    }
    const pem = await verify(files('free', { ak: 'free.pem' }));
    expect(pem).toMatchObject(VERIFIED);
    expect(pem.limits).toMatch(/nothing shows that it is restricted/);
  });

  it('of RSA with 1,024 bits is refused, though its signature holds', async () => {
    const message = readFileSync(tpm.path('rsassa.msg'));
    const quoted = async (bits: number) => {
      const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
      writeFileSync(tpm.path('own.pem'), publicKey.export({ format: 'pem', type: 'spki' }));
      writeFileSync(tpm.path('own.sig'), sign('sha256', message, privateKey));
      return verify(files('rsassa', { ak: 'own.pem', signature: 'own.sig' }));
    };
    expect(await quoted(2048)).toMatchObject(VERIFIED);
    expect(await quoted(1024)).toMatchObject(unauthentic('QUOTE_SIGNATURE', 'signature'));
    // The same in a public area, which says how long its modulus is.
    expect(await verify(files('rsassa'))).toMatchObject(VERIFIED);
    const short = await verify(files('rsassa', { ak: changed('rsassa.pub', shortened) }));
    expect(short).toMatchObject(unauthentic('TPM_KEY_SIZE', 'AK'));
  });
});

/** The TPM2B_PUBLIC of an RSA-2048 key with the upper half of its modulus alone. */
function shortened(bytes: Buffer): Buffer {
  const out = Buffer.from(bytes.subarray(0, bytes.length - 128));
  out.writeUInt16BE(out.length - 2, 0);
  out.writeUInt16BE(128, out.length - 128 - 2);
  // keyBits stands before exponent (4 bytes) and the modulus' size.
  out.writeUInt16BE(1024, out.length - 128 - 2 - 4 - 2);
  return out;
}

describe('a damaged file', () => {
  const cut = (bytes: Buffer) => bytes.subarray(0, -1);
  const longer = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)]);

  it.each([
    ['ecc.pub', 'ak', 'CLI_AK_FORMAT', 2],
    ['ecc.tpmt', 'ak', 'CLI_AK_FORMAT', 2],
    ['ecc.pem', 'ak', 'CLI_AK_FORMAT', 2],
    ['ecc.pcrs', 'pcrs', 'CLI_PCRS_FORMAT', 2],
    ['ecc.msg', 'message', 'QUOTE_SIGNATURE', 1],
    ['ecc.sig', 'signature', 'QUOTE_MALFORMED', 1],
  ] as const)('%s is refused when it is cut, and when bytes follow', async (file, flag, code, exit) => {
    expect(await verify(files('ecc', { [flag]: file }))).toMatchObject(VERIFIED);
    const tail = file.endsWith('.pem') ? (bytes: Buffer) => Buffer.concat([bytes, bytes]) : longer;
    const head = file.endsWith('.pem') ? (bytes: Buffer) => bytes.subarray(0, -4) : cut;
    for (const damage of [head, tail, () => Buffer.alloc(0)]) {
      const outcome = await verify(files('ecc', { [flag]: changed(file, damage) }));
      expect(outcome.codes).toEqual([code]);
      expect(outcome.exit).toBe(exit);
    }
  });

  it('is refused in any bit that is read of the PCR file, and never throws', async () => {
    const bytes = readFileSync(tpm.path('ecc.pcrs'));
    for (let bit = 0; bit < bytes.length * 8; bit += 97) {
      const pcrs = changed('ecc.pcrs', (copy) => {
        copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return copy;
      });
      const outcome = await verify(files('ecc', { pcrs }));
      const read = ![...outcome.codes].length;
      // What no PCR lies in (unused slots, the tail of a 64-byte slot) is nobody's: the rest is signed.
      if (read) expect(isUnused(bit >> 3)).toBe(true);
      else expect(outcome.codes[0]).toMatch(/^(?:CLI_PCRS_FORMAT|PCR_|QUOTE_SELECTION)/);
    }
  });

  it('that is too long, or is not there, can’t be used', async () => {
    writeFileSync(tpm.path('long'), Buffer.alloc(64 * 1024 + 1));
    expect(await verify(files('ecc', { pcrs: 'long' }))).toMatchObject({
      exit: 2,
      codes: ['CLI_FILE_TOO_LARGE'],
    });
    expect(await verify(files('ecc', { pcrs: 'absent' }))).toMatchObject({ exit: 2, codes: ['CLI_FILE'] });
    expect(await verify({ ...files(), pcrs: '/dev/zero' })).toMatchObject({
      exit: 2,
      codes: ['CLI_FILE_TOO_LARGE'],
    });
  });

  it('that holds a private key is no AK', async () => {
    const text = (what: string) => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
    for (const what of ['PRIVATE KEY', 'CERTIFICATE', 'PUBLIC KEY']) {
      writeFileSync(tpm.path('no.pem'), text(what));
      expect(await verify(files('ecc', { ak: 'no.pem' }))).toMatchObject({
        exit: 2,
        codes: ['CLI_AK_FORMAT'],
      });
    }
  });
});

/** Bytes of a serialized PCR file with sixteen SHA-256 values of one bank that no value lies in. */
function isUnused(at: number): boolean {
  if (at < 132) return at >= 4 + 3 + 3;
  if (at < 136) return false;
  const inList = (at - 136) % 532;
  return inList >= 4 && (inList - 4) % 66 >= 2 + 32;
}

const HERE = join(import.meta.dirname, '../../evidence/test/fixtures/debian12-qemu');
const SHARED = join(import.meta.dirname, '../../../../shared/evidence/debian12-qemu');

describe.each([
  ['the fixture', HERE],
  ['../shared', SHARED],
])('a captured boot of Debian 12 from %s', (_, folder) => {
  const boot = (name: string, nonce: string): Files => ({
    ak: join(folder, 'ak.pub'),
    message: join(folder, `${name}.msg`),
    signature: join(folder, `${name}.sig`),
    pcrs: join(folder, `${name}.pcrs`),
    nonce,
    eventlog: join(folder, 'bios.bin'),
    ima: join(folder, `${name}.ima.bin`),
  });
  const q1 = boot('q1', Buffer.from(Array.from({ length: 32 }, (_unused, i) => i + 1)).toString('hex'));
  const q3 = boot('q3', '22'.repeat(32));
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'kallio-boot-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const copy = (file: string, change: (bytes: Buffer) => Uint8Array): string => {
    const path = join(dir, 'changed');
    writeFileSync(path, change(readFileSync(file)));
    return path;
  };
  const replayed = { exit: 1, state: 'UNKNOWN', authentic: true, codes: ['POLICY_NONE'] };

  it.skipIf(!existsSync(folder))('replays to its quotes, from the binary and the text list', async () => {
    expect(await verify(q1)).toMatchObject(replayed);
    expect(await verify(q3)).toMatchObject(replayed);
    expect(await verify({ ...q1, ima: join(folder, 'q1.ima.txt') })).toMatchObject(replayed);
  });

  it.skipIf(!existsSync(folder))('is VIOLATED when a log is changed or is another quote’s', async () => {
    expect(await verify(q1)).toMatchObject(replayed);
    const other = await verify({ ...q3, ima: q1.ima ?? '' });
    expect(other).toMatchObject({
      exit: 1,
      state: 'VIOLATED',
      authentic: true,
      refused: ['IMA log', 'policy'],
    });
    expect(other.codes).toContain('IMA_MISMATCH');
    const path = copy(q1.ima ?? '', (bytes) => {
      bytes[bytes.indexOf('/bin/')] = 0x2e;
      return bytes;
    });
    expect((await verify({ ...q1, ima: path })).codes).toContain('IMA_MISMATCH');
    const text = copy(join(folder, 'q1.ima.txt'), (bytes) =>
      Buffer.from(bytes.toString().replace('/bin/', '/bIn/')),
    );
    expect(await verify({ ...q1, ima: text })).toMatchObject({ exit: 1, codes: ['IMA_DIGEST'] });
    const log = copy(q1.eventlog ?? '', (bytes) => {
      // A byte of the last event's digest: SHA-256, then a size and the data.
      const at = bytes.lastIndexOf(Buffer.from([1, 0, 0, 0, 0x0b, 0])) + 6;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    });
    const forged = await verify({ ...q1, eventlog: log });
    expect(forged).toMatchObject({ exit: 1, state: 'VIOLATED' });
    expect(forged.codes).toContain('EVENTLOG_MISMATCH');
  });
});
