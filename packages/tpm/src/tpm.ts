import { setTimeout as wait } from 'node:timers/promises';
import { KallioError, Reader, Writer } from '@kallio/codec';
import { type Authorization, authorizationArea, readAuthorizationArea } from './authorization.ts';
import { handleOf, type Reference } from './reference.ts';
import { decodeResponseCode } from './response-code.ts';
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
  readonly parameters?: Uint8Array;
  /** Does the response begin with a handle? */
  readonly returnsHandle?: boolean;
}

/** A successful response. */
export interface Response {
  /** The new handle, where the command returns one; otherwise 0. */
  readonly handle: number;
  readonly parameters: Reader;
}

const TAG_NO_SESSIONS = 0x8001;
const TAG_SESSIONS = 0x8002;
const RC_YIELDED = 0x908;
const RC_TESTING = 0x90a;
const RC_RETRY = 0x922;
const RETRY = new Set([RC_YIELDED, RC_TESTING, RC_RETRY]);
const RC_LOCKOUT = 0x921;
const RC_OBJECT_MEMORY = 0x902;

/** How long a busy TPM is asked again: a self-test may take 10 s. */
const BUSY_MS = 20_000;

/** A refusal by the TPM itself, its response code at hand. */
export class TpmResponseError extends KallioError<TpmCode> {
  readonly responseCode: number;

  constructor(command: string, responseCode: number) {
    const { name, about, text } = decodeResponseCode(responseCode);
    const where = about === undefined ? '' : ` (${about.kind} ${about.number})`;
    super(codeOf(responseCode), `${command} was refused: ${name}${where}: ${text}.`, {
      pointer: `0x${responseCode.toString(16)}`,
    });
    this.responseCode = responseCode;
  }
}

/** A TPM 2.0. Commands are queued: one at a time is on its way. */
export class Tpm {
  readonly #transport: Transport;
  #last: Promise<unknown> = Promise.resolve();

  constructor(transport: Transport) {
    this.#transport = transport;
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
    const bytes = marshal(command);
    const deadline = Date.now() + BUSY_MS;
    for (let pause = 5; ; pause = Math.min(pause * 2, 500)) {
      const response = await this.#transport.send(bytes);
      const code = responseCode(command, response);
      if (code === 0) return unmarshal(command, response);
      // A command that was answered so had no effect and is to be sent again (Part 1 section 39.4).
      if (!RETRY.has(code)) throw new TpmResponseError(command.name, code);
      if (Date.now() + pause > deadline) throw new TpmResponseError(command.name, code);
      await wait(pause);
    }
  }
}

function codeOf(responseCode: number): TpmCode {
  if (RETRY.has(responseCode)) return 'TPM_BUSY';
  if (responseCode === RC_LOCKOUT) return 'TPM_LOCKOUT';
  return responseCode === RC_OBJECT_MEMORY ? 'TPM_OBJECT_MEMORY' : 'TPM_RESPONSE';
}

/** Header, handles, authorization area, parameters (Part 1 section 18). */
function marshal(command: Command): Uint8Array {
  const authorizations = command.authorizations ?? [];
  const body = new Writer();
  for (const handle of command.handles ?? []) body.u32(handleOf(handle));
  if (authorizations.length > 0) {
    const area = authorizationArea(authorizations);
    body.u32(area.length).bytes(area);
  }
  body.bytes(command.parameters ?? new Uint8Array(0));
  const bytes = body.finish();
  return new Writer(bytes.length + 10)
    .u16(authorizations.length > 0 ? TAG_SESSIONS : TAG_NO_SESSIONS)
    .u32(bytes.length + 10)
    .u32(command.code)
    .bytes(bytes)
    .finish();
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

function unmarshal(command: Command, response: Uint8Array): Response {
  const reader = new Reader(response);
  const tag = reader.u16();
  reader.bytes(8);
  const handle = command.returnsHandle === true ? reader.u32('The response handle') : 0;
  const sessions = command.authorizations?.length ?? 0;
  if ((tag === TAG_SESSIONS) !== sessions > 0) throw malformed(command, 'its sessions are not the command’s');
  if (sessions === 0) return { handle, parameters: new Reader(reader.rest()) };
  const parameters = reader.bytes(
    reader.u32('The size of the response parameters'),
    'The response parameters',
  );
  readAuthorizationArea(reader, sessions);
  reader.end(`The response to ${command.name}`);
  return { handle, parameters: new Reader(parameters) };
}

function malformed(command: Command, why: string): KallioError {
  return new KallioError<TpmCode>(
    'TPM_RESPONSE_MALFORMED',
    `The response to ${command.name} makes no sense: ${why}.`,
  );
}
