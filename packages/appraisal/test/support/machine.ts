import { createHash } from 'node:crypto';
import { concat, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import { type Appraisal, type AppraisalInput, type AppraisalPolicy, parsePolicy } from '../../src/index.ts';
import { judge } from './appraise.ts';
import { question, SoftwareAttester } from './attester.ts';

/** A measurement of the firmware, or of what it starts. */
export interface BootEvent {
  readonly pcr: number;
  readonly type: number;
  /** What the log says of it. */
  readonly data: Uint8Array;
  /** What was hashed, where that is not the data. */
  readonly measured?: Uint8Array;
}

/** An entry of the kernel's list. */
export interface ImaLine {
  readonly name: string;
  /** What the file holds; `violation` where the kernel could not vouch for it. */
  readonly file: string | 'violation';
  /** How the kernel writes it; `ima-ng` with SHA-256 where this is left out. */
  readonly form?: ImaForm;
  /** What it shows as the file's digest, where that is not the file's. */
  readonly digest?: string;
}

/** Templates, algorithms and types of digest that a kernel may write a file by. */
export type ImaForm = 'ima-ng' | 'ima-sig' | 'sha512' | 'verity';

const EV_SEPARATOR = 4;
const EV_EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003;
const EV_EVENT_TAG = 6;

export const COMMAND_LINE = 'root=/dev/vda ro quiet';
export const separator = (pcr: number): BootEvent => ({ pcr, type: EV_SEPARATOR, data: new Uint8Array(4) });
export const bootLoader = (what: string): BootEvent => ({
  pcr: 4,
  type: EV_EFI_BOOT_SERVICES_APPLICATION,
  data: utf8('a device path'),
  measured: utf8(what),
});
export const commandLine = (text: string): BootEvent => ({
  pcr: 9,
  type: EV_EVENT_TAG,
  data: utf8('LOADED_IMAGE::LoadOptions'),
  measured: new Uint8Array(Buffer.from(`${text}\0`, 'utf16le')),
});

/** A boot of a machine that measures: every firmware PCR has something, closed by its separator. */
export const BOOT: readonly BootEvent[] = [
  ...[0, 1, 2, 3, 5, 6].map((pcr): BootEvent => ({ pcr, type: 8, data: utf8(`firmware of PCR ${pcr}`) })),
  { pcr: 7, type: 0x8000_0001, data: utf8('a variable') },
  separator(7),
  ...[0, 1, 2, 3, 4, 5, 6].map(separator),
  bootLoader('boot loader 1'),
  commandLine(COMMAND_LINE),
];

export const FILES: readonly ImaLine[] = [
  { name: '/usr/bin/sh', file: 'a shell of the host' },
  { name: '/usr/lib/modules/6.1/net.ko', file: 'a network module' },
  { name: '/opt/app', file: 'an application' },
];

/** A machine with a firmware that measures and a kernel with IMA; each of its logs can be changed before it is shown. */
export class Machine extends SoftwareAttester {
  events: BootEvent[] = [];
  ima: ImaLine[] = [];
  /** The list's first entry; honest where it is left out. */
  aggregate: string | undefined;

  constructor() {
    super();
    this.boot();
  }

  /** Measures a boot, then files. */
  boot(events: readonly BootEvent[] = BOOT, files: readonly ImaLine[] = FILES): void {
    for (const event of events) this.measure(event);
    this.aggregate = toHex(sha256(...Array.from({ length: 10 }, (_, pcr) => this.value(pcr))));
    this.extend(10, sha256(imaData('boot_aggregate', this.aggregate)));
    for (const file of files) this.use(file);
  }

  override reboot(events: readonly BootEvent[] = BOOT, files: readonly ImaLine[] = FILES): void {
    super.reboot();
    this.events = [];
    this.ima = [];
    this.boot(events, files);
  }

  /** Boots again with a list whose first entry is not of this boot. */
  forgeAggregate(aggregate: string): void {
    super.reboot();
    this.events = [];
    this.ima = [];
    for (const event of BOOT) this.measure(event);
    this.aggregate = aggregate;
    this.extend(10, sha256(imaData('boot_aggregate', aggregate)));
    for (const file of FILES) this.use(file);
  }

  measure(event: BootEvent): void {
    this.events.push(event);
    this.extend(event.pcr, sha256(event.measured ?? event.data));
  }

  use(line: ImaLine): void {
    this.ima.push(line);
    this.extend(10, templateDigest(line));
  }

  eventLog(): string {
    return toBase64(concat(logHeader(), ...this.events.map(eventBytes)));
  }

  /** The kernel's list from an entry on; the aggregate is entry 0. */
  imaLog(from = 0): NonNullable<EvidenceMessage['ima']> {
    const lines = [imaEntry('ima-ng', imaData('boot_aggregate', this.aggregate ?? ''), false)];
    for (const line of this.ima)
      lines.push(imaEntry(templateOf(line), dataOf(line), line.file === 'violation'));
    return { from, entries: toBase64(concat(...lines.slice(from))) };
  }

  /** Evidence with both logs, judged. */
  appraise(change: Partial<AppraisalInput> = {}, parts: Partial<EvidenceMessage> = {}): Appraisal {
    const { previous } = change;
    const same = previous !== undefined && previous.boot.resetCount === this.resetCount;
    const asked = question();
    const message = this.show(asked, {
      from: same ? previous.instanceLog.entries : 0,
      parts: {
        ...(same ? {} : { eventLog: this.eventLog() }),
        ima: this.imaLog(same ? (previous.ima?.entries ?? 0) : 0),
        ...parts,
      },
    });
    return judge(this, message, asked, { policy: MACHINE_POLICY, endorsement: { kind: 'maker' }, ...change });
  }
}

const u16 = (value: number) => Uint8Array.of(value & 255, value >> 8);
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

function logHeader(): Uint8Array {
  const data = concat(
    ...[utf8('Spec ID Event03\0'), u32(0), Uint8Array.of(0, 2, 0, 2), u32(1), u16(0x0b), u16(32)],
    Uint8Array.of(0),
  );
  return concat(u32(0), u32(3), new Uint8Array(20), u32(data.length), data);
}

function eventBytes({ pcr, type, data, measured = data }: BootEvent): Uint8Array {
  const digest = sha256(measured);
  return concat(u32(pcr), u32(type), u32(1), u16(0x0b), digest, u32(data.length), data);
}

function imaData(name: string, digest: string, algorithm = 'sha256', ...more: Uint8Array[]): Uint8Array {
  const value = concat(utf8(`${algorithm}:\0`), new Uint8Array(Buffer.from(digest, 'hex')));
  return concat(...[value, utf8(`${name}\0`), ...more].map((field) => concat(u32(field.length), field)));
}

function dataOf({ name, file, form = 'ima-ng', digest = digestIn(file, form) }: ImaLine): Uint8Array {
  switch (form) {
    case 'ima-ng':
      return imaData(name, digest);
    case 'ima-sig':
      return imaData(name, digest, 'sha256', utf8('a signature'));
    case 'sha512':
      return imaData(name, digest, 'sha512');
    case 'verity':
      return imaData(name, digest, 'verity:sha256');
  }
}

function digestIn(file: string, form: ImaForm): string {
  const digest = createHash(form === 'sha512' ? 'sha512' : 'sha256');
  return file === 'violation' ? '00'.repeat(32) : digest.update(file).digest('hex');
}

function templateOf({ form = 'ima-ng' }: ImaLine): string {
  if (form === 'verity') return 'ima-ngv2';
  return form === 'sha512' ? 'ima-ng' : form;
}

function templateDigest(line: ImaLine): Uint8Array {
  return line.file === 'violation' ? new Uint8Array(32).fill(0xff) : sha256(dataOf(line));
}

/** The SHA-1 that the list shows is not looked at, but for the zeros of a violation. */
function imaEntry(name: string, data: Uint8Array, violation: boolean): Uint8Array {
  const template = utf8(name);
  const digest = new Uint8Array(20).fill(violation ? 0 : 1);
  return concat(u32(10), digest, u32(template.length), template, u32(data.length), data);
}

/** SHA-256 of a file by what it holds. */
export const digestOfFile = (content: string): string => toHex(sha256(utf8(content)));

/** A line's file as a policy names it. */
export function referenceOf({ file, form = 'ima-ng', digest = digestIn(file, form) }: ImaLine): string {
  return form === 'verity' ? `verity:${digest}` : digest;
}

/** Reference values of {@link BOOT} and {@link FILES}. */
export const MACHINE_POLICY: AppraisalPolicy = parsePolicy({
  policy: 'kallio-policy-v1',
  id: 'machine-1',
  bank: 'sha256',
  pcrs: Array.from({ length: 16 }, (_, pcr) => pcr),
  reference: {
    pcrs: Object.fromEntries([8, 11, 12, 13, 15].map((pcr) => [pcr, ['00'.repeat(32)]])),
    boot: [
      ...[0, 1, 2, 3, 5, 6].map((pcr) => ({
        pcr,
        class: 'firmware',
        values: [{ name: `firmware of PCR ${pcr}`, text: `firmware of PCR ${pcr}`, encoding: 'utf-8' }],
        required: true,
      })),
      {
        pcr: 7,
        class: 'secure-boot',
        values: [{ name: 'a variable', text: 'a variable', encoding: 'utf-8' }],
        required: true,
      },
      {
        pcr: 4,
        class: 'boot-loader',
        values: [{ name: 'boot loader 1', digest: digestOfFile('boot loader 1') }],
        required: true,
      },
      {
        pcr: 9,
        class: 'command-line',
        values: [{ name: 'as installed', text: COMMAND_LINE, encoding: 'utf-16le-nul' }],
        required: true,
      },
    ],
    ima: {
      classes: [
        { name: 'programs', paths: ['/usr/bin/'], digests: [digestOfFile('a shell of the host')] },
        {
          name: 'kernel modules',
          paths: ['/usr/lib/modules/'],
          hostOnly: true,
          digests: [digestOfFile('a network module')],
        },
        { name: 'everything else', digests: [digestOfFile('an application')] },
      ],
    },
  },
  tiers: ['A', 'B', 'C'],
});
