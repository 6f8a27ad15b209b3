import { KallioError, printable, toHex } from '@kallio/codec';
import type { ImaEntry, ImaMeasurement } from '@kallio/evidence';
import { decodeImaEntry, ImaReplay } from '@kallio/evidence';
import type { Command } from 'commander';
import { type Context, command } from '../context.ts';
import { bankOf } from '../logs/bank.ts';
import { EXIT } from '../output/exit.ts';

interface Flags {
  readonly pcrs?: true;
  readonly bank: string;
}

const PROGRESS_EVERY = 250_000;

/** `kallio imalog`: what the kernel measured. */
export function imalogCommand(context: Context): Command {
  return command(
    'imalog',
    'print an IMA measurement list, and replay it',
    'kallio imalog /sys/kernel/security/ima/binary_runtime_measurements --pcrs',
  )
    .argument('<file>', 'binary_runtime_measurements or ascii_runtime_measurements, of any length')
    .option('--pcrs', 'print the value of PCR 10 that the list leads to, and no entries')
    .option('--bank <name>', 'sha1, sha256, sha384 or sha512', 'sha256')
    .addHelpText(
      'after',
      `
What an entry says is measured: a replay that leads to a quoted PCR 10 proves it. Of a violation nothing is: the kernel
could not vouch for it.
Exit codes: 0 printed, 2 a list that can’t be used.`,
    )
    .action((file: string, flags: Flags) => imalog(context, file, flags));
}

async function imalog(context: Context, file: string, flags: Flags): Promise<void> {
  const { imaEntriesOf } = await import('../logs/ima-file.ts');
  const { output } = context;
  const bank = bankOf(flags.bank);
  const replay = new ImaReplay(bank);
  const printer = flags.pcrs === true ? undefined : new EntryPrinter(context);
  try {
    for (const entry of imaEntriesOf(file)) {
      replay.extend(entry);
      if (printer !== undefined) printer.entry(entry, decodeImaEntry(entry));
      else if (entry.index % PROGRESS_EVERY === PROGRESS_EVERY - 1)
        output.progress(`${entry.index + 1} entries …`);
    }
  } catch (error) {
    if (!(error instanceof KallioError) || !error.code.startsWith('IMA_')) throw error;
    if (output.json && printer !== undefined) printer.end({ error: error.toJSON() });
    else output.failure(error);
    context.exit = EXIT.usage;
    return;
  }
  const { entries, pcr } = replay.state;
  const values = { entries, bank, pcrs: { 10: toHex(pcr) } };
  const text = `${entries} entries\nPCR 10  ${bank}:${toHex(pcr)}`;
  if (printer === undefined) output.result(values, text);
  else printer.end({ replay: values }, text);
}

/** Prints entry after entry, so that a list of any length needs the memory of one. */
class EntryPrinter {
  readonly #context: Context;
  #first = true;

  constructor(context: Context) {
    this.#context = context;
  }

  entry({ index, pcr, template, violation }: ImaEntry, { name, digest, fields }: ImaMeasurement): void {
    const { output } = this.#context;
    const value = toHex(digest.bytes);
    if (!output.json) {
      const type = digest.type === 'verity' ? 'verity:' : '';
      const more = [...fields].map(([field, bytes]) => `  ${field}=${bytes.length} bytes`).join('');
      output.piece(
        violation
          ? `entry ${index}  ${template}  VIOLATION, not measured: ${printable(name)}\n`
          : `entry ${index}  ${template}  measured  ${type}${digest.algorithm}:${value}  ${printable(name)}${more}\n`,
      );
      return;
    }
    const document = {
      index,
      pcr,
      template,
      violation,
      [violation ? 'described' : 'measured']: {
        name,
        digest: { algorithm: digest.algorithm, type: digest.type, value },
        fields: Object.fromEntries([...fields].map(([field, bytes]) => [field, toHex(bytes)])),
      },
    };
    output.piece(`${this.#first ? '{"entries":[' : ','}\n${JSON.stringify(document)}`);
    this.#first = false;
  }

  /** The end of the one document, or of the text. */
  end(rest: object, text = ''): void {
    const { output } = this.#context;
    if (!output.json) output.piece(`\n${text}\n`);
    else {
      const members = JSON.stringify(rest).slice(1);
      output.piece(`${this.#first ? '{"entries":[' : ''}\n],${members}\n`);
    }
  }
}
