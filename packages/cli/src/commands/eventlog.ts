import { KallioError, toHex } from '@kallio/codec';
import type { EventLog, MeasureRecord } from '@kallio/evidence';
import { parseEventLog, parseMeasureLog, replayEventLog, replayMeasureLog } from '@kallio/evidence';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { readBounded } from '../files.ts';
import { type Bank, bankOf } from '../logs/bank.ts';
import { EXIT } from '../output/exit.ts';
import { cliError } from '../output/output.ts';

interface Flags {
  readonly pcrs?: true;
  readonly bank?: string;
}

/** What the files hold. */
interface Logs {
  readonly firmware?: EventLog;
  readonly records?: readonly MeasureRecord[];
}

const MAX_LOG = 16 * 1024 * 1024;
const RECORD_SEPARATOR = 0x1e;
const BRACE = 0x7b;

/** `kallio eventlog`: what a boot measured. */
export function eventlogCommand(context: Context): Command {
  return command(
    'eventlog',
    'print what firmware and systemd measured, and replay it',
    'kallio eventlog /sys/kernel/security/tpm0/binary_bios_measurements /run/log/systemd/tpm2-measure.log --pcrs',
  )
    .argument('<file...>', 'the firmware’s event log, systemd’s measurement log, or the one and the other')
    .option('--pcrs', 'print the PCR values that the log leads to, and no events')
    .option(
      '--bank <name>',
      'sha1, sha256, sha384 or sha512; sha256 by default, sha1 where the log has nothing else',
    )
    .addHelpText(
      'after',
      `
“measured” is what was hashed: a replay that leads to quoted PCRs proves it. “described” is the log’s word alone, and so
is the type of each event.
Exit codes: 0 printed, 2 a log that can’t be used, or an event whose data can’t be read.`,
    )
    .action((files: string[], flags: Flags) => eventlog(context, files, flags));
}

async function eventlog(context: Context, files: readonly string[], flags: Flags): Promise<void> {
  try {
    await show(context, files, flags);
  } catch (error) {
    if (!(error instanceof KallioError) || !/^(?:EVENT|MEASURE)LOG_/.test(error.code)) throw error;
    context.output.failure(error);
    context.exit = EXIT.usage;
  }
}

async function show(context: Context, files: readonly string[], flags: Flags): Promise<void> {
  const [{ showFirmwareLog, showRecord }, { plain }, { valueLines }] = await Promise.all([
    import('../logs/event-log.ts'),
    import('../logs/plain.ts'),
    import('../logs/values.ts'),
  ]);
  const logs = await read(files);
  const { firmware, records } = logs;
  const bank = flags.bank === undefined ? usualBank(logs) : bankOf(flags.bank);
  const start = firmware === undefined ? new Map<number, Uint8Array>() : replayEventLog(firmware, bank);
  const { pcrs, nvIndexes } = replayMeasureLog(records ?? [], bank, start);
  const values = { bank, pcrs, ...(nvIndexes.size === 0 ? {} : { nvIndexes }) };
  const lines = [
    ...valueLines(bank, pcrs),
    ...[...nvIndexes].map(([index, value]) => `NV 0x${index.toString(16)}  ${bank}:${toHex(value)}`),
  ];
  if (flags.pcrs === true) {
    context.output.result(plain(values), lines.join('\n'));
    return;
  }
  const events = firmware === undefined ? [] : showFirmwareLog(firmware, bank);
  const shown = (records ?? []).map((record) => showRecord(record, bank));
  if (events.some(({ refusal }) => refusal !== undefined)) context.exit = EXIT.usage;
  context.output.result(
    {
      ...(firmware === undefined
        ? {}
        : {
            format: firmware.format,
            banks: firmware.banks,
            startupLocality: firmware.startupLocality,
            events: events.map(({ document }) => document),
          }),
      ...(records === undefined ? {} : { records: shown.map(({ document }) => document) }),
      replay: plain(values),
    },
    [...[...events, ...shown].flatMap((one) => one.lines), '', ...lines].join('\n'),
  );
}

async function read(files: readonly string[]): Promise<Logs> {
  let logs: Logs = {};
  for (const file of files) {
    const bytes = readBounded(file, MAX_LOG);
    const isJson = bytes[0] === RECORD_SEPARATOR || bytes[0] === BRACE;
    // What user space measures comes after what the firmware does, and each log is one.
    if (logs.records !== undefined || (!isJson && logs.firmware !== undefined)) {
      throw cliError(
        'USAGE',
        'These logs don’t go together.',
        'Name one firmware event log, one measurement log of systemd’s, or the one and then the other.',
      );
    }
    logs = isJson ? { ...logs, records: parseMeasureLog(bytes) } : { firmware: parseEventLog(bytes) };
  }
  return logs;
}

function usualBank({ firmware, records }: Logs): Bank {
  const banks: readonly Bank[] = firmware?.banks ?? [...(records?.[0]?.authenticated.digests.keys() ?? [])];
  return banks.includes('sha256') ? 'sha256' : (banks[0] ?? 'sha256');
}
