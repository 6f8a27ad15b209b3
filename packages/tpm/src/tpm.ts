import { setTimeout as wait } from 'node:timers/promises';
import { KallioError, Reader, Writer } from '@kallio/codec';
import type { Authorization, SessionUse } from './authorization.ts';
import { handleOf, type Reference } from './reference.ts';
import { decodeResponseCode } from './response-code.ts';
import { Exchange } from './sessions/exchange.ts';
import type { TpmCode } from './structures/error.ts';
import { openTransport } from './transports/open.ts';
import type { Transport } from './transports/transport.ts';

/** One command, marshalled but for its header. */
export interface Command {
  /** `TPM2_…`, for messages. */
  readonly name: string;
  /** TPM_CC. */
  readonly code: number;
  readonly handles?: readonly Reference[];
  /** One for each handle that needs it, in order. */
  readonly authorizations?: readonly Authorization[];
  /** Sessions that authorize nothing. */
  readonly sessions?: readonly SessionUse[];
  readonly parameters?: Uint8Array;
  /** The authorization value that the command gives its first handle. */
  readonly newAuthValue?: Uint8Array;
  /** Does the response begin with a handle? */
  readonly returnsHandle?: boolean;
}

/** A successful response. */
export interface Response {
  /** The new handle, where the command returns one; otherwise 0. */
  readonly handle: number;
  readonly parameters: Reader;
}

const NONE = new Uint8Array(0);
const TAG_NO_SESSIONS = 0x8001;
const TAG_SESSIONS = 0x8002;
const RC_YIELDED = 0x908;
const RC_TESTING = 0x90a;
const RC_RETRY = 0x922;
const RETRY = new Set([RC_YIELDED, RC_TESTING, RC_RETRY]);
const RC_OBJECT_MEMORY = 0x902;
const RC_SESSION_MEMORY = 0x903;
const RC_SESSION_HANDLES = 0x905;
const RC_OBJECT_HANDLES = 0x906;
const RC_LOCKOUT = 0x921;

const BUSY_HINT =
  'It tests itself, or works for another program. Try again in a minute; if it stays so, restart.';
const OBJECT_HINT =
  'Flush objects that are not needed (tpm2_flushcontext -t), or use /dev/tpmrm0, which makes room by itself.';
const SESSION_HINT =
  'Flush sessions that are not needed (tpm2_flushcontext -l), or use /dev/tpmrm0, which makes room by itself.';
const LOCKOUT_HINT =
  'Wait until the TPM forgives (tpm2_getcap properties-variable: TPM2_PT_LOCKOUT_INTERVAL), or reset with the lockout authorization: tpm2_dictionarylockout --clear-lockout.';
/** How long a busy TPM is asked again: a self-test may take 10 s. */
const BUSY_MS = 20_000;

/** Refusals that a program or an operator can do something about, and what. */
const NAMED: ReadonlyMap<number, readonly [TpmCode, string]> = new Map([
  [RC_YIELDED, ['TPM_BUSY', BUSY_HINT]],
  [RC_TESTING, ['TPM_BUSY', BUSY_HINT]],
  [RC_RETRY, ['TPM_BUSY', BUSY_HINT]],
  [RC_OBJECT_MEMORY, ['TPM_OBJECT_MEMORY', OBJECT_HINT]],
  [RC_OBJECT_HANDLES, ['TPM_OBJECT_MEMORY', OBJECT_HINT]],
  [RC_SESSION_MEMORY, ['TPM_SESSION_MEMORY', SESSION_HINT]],
  [RC_SESSION_HANDLES, ['TPM_SESSION_MEMORY', SESSION_HINT]],
  [RC_LOCKOUT, ['TPM_LOCKOUT', LOCKOUT_HINT]],
]);

/** A refusal by the TPM itself, its response code at hand. */
export class TpmResponseError extends KallioError<TpmCode> {
  readonly responseCode: number;

  constructor(command: string, responseCode: number) {
    const { name, about, text } = decodeResponseCode(responseCode);
    const where = about === undefined ? '' : ` (${about.kind} ${about.number})`;
    const [code, hint] = NAMED.get(responseCode) ?? (['TPM_RESPONSE', undefined] as const);
    const pointer = `0x${responseCode.toString(16)}`;
    super(code, `${command} was refused: ${name}${where}: ${text}.`, { pointer, hint });
    this.responseCode = responseCode;
  }
}

/** A TPM 2.0. Commands are queued: one at a time is on its way. */
export class Tpm {
  readonly #transport: Transport;
  readonly #busyMs: number;
  #last: Promise<unknown> = Promise.resolve();
  /** Set once a response was shown not to be the TPM's. */
  #betrayed: KallioError | undefined;

  /** `busyMs` bounds how long a busy TPM is asked again. */
  constructor(transport: Transport, busyMs: number = BUSY_MS) {
    this.#transport = transport;
    this.#busyMs = busyMs;
  }

  /** The TPM at an address (see {@link openTransport}). */
  static open(address: string): Tpm {
    return new Tpm(openTransport(address));
  }

  /** Sends one command and gives its response; waits its turn. */
  execute(command: Command): Promise<Response> {
    const turn = this.#last.then(() => this.#attempt(command));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Waits for commands under way and closes the connection. */
  async close(): Promise<void> {
    await this.#last;
    await this.#transport.close();
  }

  async #attempt(command: Command): Promise<Response> {
    if (this.#betrayed !== undefined) throw this.#betrayed;
    const exchange = exchangeOf(command);
    const bytes = marshal(command, exchange);
    const deadline = Date.now() + this.#busyMs;
    for (let pause = 5; ; pause = Math.min(pause * 2, 500)) {
      const response = await this.#transport.send(bytes);
      const code = responseCode(command, response);
      if (code === 0) return this.#believe(() => unmarshal(command, exchange, response));
      // A command that was answered so had no effect and is to be sent again (Part 1 section 39.4). Nonces have not
      // rolled: the same bytes are good again.
      if (!RETRY.has(code)) throw new TpmResponseError(command.name, code);
      if (Date.now() + pause > deadline) throw new TpmResponseError(command.name, code);
      await wait(pause);
    }
  }

  /** Whoever is on the connection of a wrong HMAC is no TPM, or not alone: nothing more is said to it or believed of it. */
  async #believe(read: () => Response): Promise<Response> {
    try {
      return read();
    } catch (error) {
      if (error instanceof KallioError && error.code === 'TPM_RESPONSE_HMAC') {
        this.#betrayed = error;
        await this.#transport.close();
      }
      throw error;
    }
  }
}

/** The sessions of a command, where it has any. */
function exchangeOf(command: Command): Exchange | undefined {
  const { authorizations = [], sessions = [], handles = [], parameters = NONE } = command;
  if (authorizations.length + sessions.length === 0) return undefined;
  return new Exchange({ ...command, authorizations, sessions, handles, parameters });
}

/** Header, handles, authorization area, parameters (Part 1 section 18). */
function marshal(command: Command, exchange: Exchange | undefined): Uint8Array {
  const parameters = exchange?.parameters ?? command.parameters ?? NONE;
  const handles = command.handles ?? [];
  const area = exchange === undefined ? 0 : 4 + exchange.area.length;
  const size = 10 + handles.length * 4 + area + parameters.length;
  const writer = new Writer(size);
  writer
    .u16(exchange === undefined ? TAG_NO_SESSIONS : TAG_SESSIONS)
    .u32(size)
    .u32(command.code);
  for (const handle of handles) writer.u32(handleOf(handle));
  if (exchange !== undefined) writer.u32(exchange.area.length).bytes(exchange.area);
  return writer.bytes(parameters).finish();
}

function responseCode(command: Command, response: Uint8Array): number {
  const reader = new Reader(response);
  const tag = reader.u16('The response tag');
  const size = reader.u32('The response size');
  const code = reader.u32('The response code');
  if (size !== response.length || (tag !== TAG_NO_SESSIONS && tag !== TAG_SESSIONS && code === 0)) {
    throw malformed(command, 'its header is wrong');
  }
  return code;
}

function unmarshal(command: Command, exchange: Exchange | undefined, response: Uint8Array): Response {
  const reader = new Reader(response);
  const tag = reader.u16();
  reader.bytes(8);
  const handle = command.returnsHandle === true ? reader.u32('The response handle') : 0;
  if ((tag === TAG_SESSIONS) !== (exchange !== undefined)) {
    throw malformed(command, 'its sessions are not the command’s');
  }
  if (exchange === undefined) return { handle, parameters: new Reader(reader.rest()) };
  const size = reader.u32('The size of the response parameters');
  const parameters = reader.bytes(size, 'The response parameters');
  return { handle, parameters: new Reader(exchange.open(parameters, reader)) };
}

function malformed(command: Command, why: string): KallioError {
  return new KallioError<TpmCode>(
    'TPM_RESPONSE_MALFORMED',
    `The response to ${command.name} makes no sense: ${why}.`,
  );
}
