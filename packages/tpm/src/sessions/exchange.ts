import { createHash } from 'node:crypto';
import { concat, equalBytes, KallioError, Reader, Writer } from '@kallio/codec';
import type { Authorization, SessionUse } from '../authorization.ts';
import { entityName, type Reference } from '../reference.ts';
import type { HashName } from '../structures/algorithms.ts';
import type { TpmCode } from '../structures/error.ts';
import { copySized, readSized, writeSized } from '../structures/sized.ts';

/** The part of a command that its sessions cover. */
export interface Covered {
  readonly name: string;
  readonly code: number;
  readonly handles: readonly Reference[];
  readonly authorizations: readonly Authorization[];
  readonly sessions: readonly SessionUse[];
  readonly parameters: Uint8Array;
  /** The value that the command gives the first handle: a response is proved with it already (Part 1 section 19.6.5). */
  readonly newAuthValue?: Uint8Array | undefined;
}

const RS_PW = 0x4000_0009;
/** TPMA_SESSION (Part 2 section 8.4). */
const CONTINUE = 0x01;
const DECRYPT = 0x20;
const ENCRYPT = 0x40;
const AUDIT = 0x80;

const NONE = new Uint8Array(0);

/** A session that takes part in a command: with which authorization value, and whether its HMAC proves that. */
interface Part {
  readonly use: SessionUse;
  readonly attributes: number;
  /** Of the handle that it authorizes; empty for a session that authorizes nothing. */
  readonly authValue: Uint8Array;
  readonly proves: boolean;
}

/** One command's sessions: its authorization area on the way out, what the response must prove on the way back. */
export class Exchange {
  /** The parameters as they go over the bus. */
  readonly parameters: Uint8Array;
  /** The authorization area (Part 1 section 18), without its size. */
  readonly area: Uint8Array;
  readonly #command: Covered;
  /** One for each authorization and session; undefined where it is a password or a plain policy. */
  readonly #parts: readonly (Part | undefined)[];
  readonly #cpHashes = new Map<HashName, Uint8Array>();

  constructor(command: Covered) {
    this.#command = command;
    const all = [...command.authorizations, ...command.sessions];
    this.#parts = all.map((authorization, index) => this.#part(authorization, index));
    for (const part of this.#parts) part?.use.session.rollCaller();
    const encrypting = this.#parts.find((part) => part !== undefined && (part.attributes & DECRYPT) !== 0);
    this.parameters =
      encrypting === undefined
        ? command.parameters
        : firstParameter(command, command.parameters, (bytes) =>
            encrypting.use.session.encrypt(bytes, encrypting.authValue),
          );
    this.area = this.#area(all);
  }

  /** Checks the response's authorization area, and gives its parameters in the clear. */
  open(parameters: Uint8Array, area: Reader): Uint8Array {
    const answers = this.#parts.map((part) => {
      const nonce = copySized(area, 64, 'A response nonce');
      const attributes = area.u8('Response session attributes');
      const hmac = readSized(area, 64, 'A response HMAC');
      return { part, nonce, attributes, hmac };
    });
    area.end(`The response to ${this.#command.name}`);
    const rpHashes = new Map<HashName, Uint8Array>();
    for (const [index, { part, nonce, attributes, hmac }] of answers.entries()) {
      if (part === undefined) continue;
      const { session } = part.use;
      const rpHash = this.#rpHash(session.hash, parameters, rpHashes);
      const proved = index === 0 ? (this.#command.newAuthValue ?? part.authValue) : part.authValue;
      const expected = session.responseHmac(rpHash, part.proves ? proved : NONE, nonce, attributes);
      // Attack: someone between us and the TPM altered the response, or answered in its place.
      if (!equalBytes(hmac, expected)) throw wrongHmac(this.#command.name, index + 1);
    }
    // Commit point: the whole response is the TPM's. Nothing of it was used before.
    for (const { part, nonce } of answers) if (part !== undefined) this.#commit(part, nonce, rpHashes);
    const encrypted = this.#parts.find((part) => part !== undefined && (part.attributes & ENCRYPT) !== 0);
    if (encrypted === undefined) return parameters;
    return firstParameter(this.#command, parameters, (bytes) =>
      encrypted.use.session.decrypt(bytes, encrypted.authValue),
    );
  }

  #commit(part: Part, nonce: Uint8Array, rpHashes: ReadonlyMap<HashName, Uint8Array>): void {
    const { session } = part.use;
    session.rollTpm(nonce);
    if ((part.attributes & AUDIT) !== 0) {
      const digest = (...parts: Uint8Array[]) => digestOf(session.hash, parts);
      session.audit(this.#cpHash(session.hash), rpHashes.get(session.hash) ?? NONE, digest);
    }
    // A policy session that was used begins anew, this demand included.
    if (session.kind === 'policy') session.provesAuthValue = false;
  }

  #part(authorization: Authorization, index: number): Part | undefined {
    if (authorization.kind !== 'session') return undefined;
    const { session, encrypt, audit, end } = authorization;
    const attributes =
      (end === true ? 0 : CONTINUE) |
      (encrypt === 'command' || encrypt === 'both' ? DECRYPT : 0) |
      (encrypt === 'response' || encrypt === 'both' ? ENCRYPT : 0) |
      (audit === true ? AUDIT : 0);
    const handle = index < this.#command.authorizations.length ? this.#command.handles[index] : undefined;
    if (handle === undefined) return { use: authorization, attributes, authValue: NONE, proves: false };
    const authValue = authorization.authValue ?? NONE;
    const proves = session.includes(entityName(handle), authValue);
    return { use: authorization, attributes, authValue, proves };
  }

  #area(all: readonly Authorization[]): Uint8Array {
    const writer = new Writer();
    for (const [index, authorization] of all.entries()) {
      switch (authorization.kind) {
        case 'password':
          writer.u32(RS_PW).u16(0).u8(0);
          writeSized(writer, authorization.password);
          break;
        case 'policy':
          writer.u32(authorization.session).u16(0).u8(CONTINUE).u16(0);
          break;
        case 'session': {
          const part = this.#parts[index];
          if (part === undefined) break;
          const { session } = authorization;
          const others = index === 0 ? this.#othersNonces(part) : NONE;
          const authValue = part.proves ? part.authValue : NONE;
          const cpHash = this.#cpHash(session.hash);
          writeSized(writer.u32(session.handle), session.nonceCaller).u8(part.attributes);
          writeSized(writer, session.commandHmac(cpHash, authValue, others, part.attributes));
          break;
        }
      }
    }
    return writer.finish();
  }

  /** The first authorization covers the nonces of the sessions that encrypt beside it, lest they be removed (19.6.5). */
  #othersNonces(first: Part): Uint8Array {
    if (this.#command.authorizations.length === 0) return NONE;
    const which = (bit: number) =>
      this.#parts.find((part) => part !== undefined && (part.attributes & bit) !== 0);
    const decrypt = which(DECRYPT);
    const encrypt = which(ENCRYPT);
    return concat(
      decrypt === undefined || decrypt === first ? NONE : decrypt.use.session.nonceTpm,
      encrypt === undefined || encrypt === first || encrypt === decrypt ? NONE : encrypt.use.session.nonceTpm,
    );
  }

  /** cpHash (Part 1 section 16.7): command code, Names, parameters as they go over the bus. */
  #cpHash(hash: HashName): Uint8Array {
    const known = this.#cpHashes.get(hash);
    if (known !== undefined) return known;
    const names = this.#command.handles.map(entityName);
    const made = digestOf(hash, [new Writer(4).u32(this.#command.code).finish(), ...names, this.parameters]);
    this.#cpHashes.set(hash, made);
    return made;
  }

  /** rpHash (Part 1 section 16.8): response code (0), command code, parameters as they came. */
  #rpHash(hash: HashName, parameters: Uint8Array, cache: Map<HashName, Uint8Array>): Uint8Array {
    const known = cache.get(hash);
    if (known !== undefined) return known;
    const made = digestOf(hash, [new Writer(8).u32(0).u32(this.#command.code).finish(), parameters]);
    cache.set(hash, made);
    return made;
  }
}

/** The parameters with the contents of the first, a TPM2B, replaced; its size stays in the clear (Part 1 section 21.2). */
function firstParameter(
  command: Covered,
  parameters: Uint8Array,
  crypt: (bytes: Uint8Array) => Uint8Array,
): Uint8Array {
  const reader = new Reader(parameters);
  const size = reader.u16(`The first parameter of ${command.name}`);
  const bytes = reader.bytes(size, `The first parameter of ${command.name}`);
  return concat(parameters.subarray(0, 2), crypt(bytes), reader.rest());
}

function digestOf(hash: HashName, parts: readonly Uint8Array[]): Uint8Array {
  const digest = createHash(hash);
  for (const part of parts) digest.update(part);
  return new Uint8Array(digest.digest());
}

function wrongHmac(name: string, session: number): KallioError<TpmCode> {
  return new KallioError<TpmCode>(
    'TPM_RESPONSE_HMAC',
    `The response to ${name} does not prove that it is the TPM’s.`,
    {
      pointer: `session ${session}`,
      hint: 'Something between this program and the TPM alters what they say, or the authorization value is not what the TPM knows.',
    },
  );
}
