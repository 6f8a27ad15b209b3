import { decodeShape, KallioError, parseJson, utf8 } from '@kallio/codec';
import { type Static, Type } from 'typebox';
import { nowMs } from '../clock.ts';
import { ociError } from '../error.ts';
import type { Question } from '../http/connection.ts';
import { exchange } from '../http/exchange.ts';
import { isLoopback } from '../reference.ts';
import { collect } from '../source.ts';
import { basicAuthorization, type Credentials } from './credentials.ts';
import { loginHint } from './hint.ts';
import type { Actions, Place } from './login.ts';
import type { Shown } from './shown.ts';

/** A registry's token, and until when it is good: milliseconds of `process.uptime`. */
export interface Token {
  readonly value: string;
  readonly until: number;
}

/** What token is wanted, of whom. */
export interface Wanted extends Place {
  readonly realm: string;
  readonly service: string | undefined;
  readonly actions: Actions;
}

const BUDGET_MS = 30_000;
const MAX_ANSWER = 64 * 1024;
/** How long a token is good that does not say so, in seconds ("Token Authentication Specification", `expires_in`). */
const USUAL_SECONDS = 60;
/** The longest that one is used, whatever it says. */
const MAX_SECONDS = 3600;

/** What is written in a header as it stands (RFC 6750 section 2.1, `b64token`). */
const TOKEN = '^[A-Za-z0-9._~+/-]{1,16384}=*$';
/** Realms say more than this. */
const TokenAnswer = Type.Object({
  token: Type.Optional(Type.String({ pattern: TOKEN })),
  access_token: Type.Optional(Type.String({ pattern: TOKEN })),
  expires_in: Type.Optional(Type.Number({ minimum: 0 })),
});

/**
 * Asks a realm for a token: with a password as the "Token Authentication Specification" says, with an identity token as
 * "OAuth2 Token Authentication" does, without either as nobody in particular, for what everybody may read. Its scope is what
 * is to be done here, whatever scope the registry names. `OCI_DENIED`, `OCI_REGISTRY`, `OCI_UNREACHABLE`.
 */
export async function askToken(
  wanted: Wanted,
  credentials: Credentials | undefined,
  shown: Shown,
): Promise<Token> {
  const url = realmOf(wanted);
  // Attack: a realm whose name is the token that was shown before.
  const name = shown.isNotIn(url.host) ? url.host : 'The realm';
  const scope = `repository:${wanted.repository}:${wanted.actions}`;
  const { service } = wanted;
  const asked = Object.entries({ ...(service === undefined ? {} : { service }), scope });
  const began = nowMs();
  const { status, bytes } = await ask(wanted, name, questionOf(url, asked, credentials));
  if (bytes === undefined) throw refused(wanted, name, status, credentials);
  const { token, access_token, expires_in } = tokenIn(bytes, name);
  const value = token ?? access_token;
  if (value === undefined) throw noToken(name);
  return { value, until: began + Math.min(expires_in ?? USUAL_SECONDS, MAX_SECONDS) * 1000 };
}

function tokenIn(bytes: Uint8Array, name: string): Static<typeof TokenAnswer> {
  try {
    return decodeShape(TokenAnswer, parseJson(bytes));
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    // Not its cause, which may be a part of a token.
    throw noToken(name);
  }
}

function noToken(name: string): Error {
  return ociError('OCI_REGISTRY', `${name} answered with something that is no token.`);
}

/** Attack: a realm to which the password would go where everybody can read it; or that names a user of its own. */
function realmOf({ realm, registry, protocol }: Wanted): URL {
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  const plain = protocol === 'http:' && url?.protocol === 'http:' && isLoopback(url.host);
  if (
    url === undefined ||
    url.username !== '' ||
    url.password !== '' ||
    (url.protocol !== 'https:' && !plain)
  )
    throw ociError('OCI_REGISTRY', `The registry ${registry} has its tokens made where nobody is asked.`);
  return url;
}

function questionOf(
  url: URL,
  asked: readonly (readonly [string, string])[],
  credentials: Credentials | undefined,
): Question {
  if (credentials !== undefined && 'identityToken' in credentials) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: 'kallio',
      refresh_token: credentials.identityToken,
    });
    for (const [name, value] of asked) form.set(name, value);
    const headers = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', url, headers, body: utf8(form.toString()), budgetMs: BUDGET_MS };
  }
  for (const [name, value] of asked) url.searchParams.set(name, value);
  const authorization = basicAuthorization(credentials);
  const headers = { accept: 'application/json', ...(authorization === undefined ? {} : { authorization }) };
  return { method: 'GET', url, headers, budgetMs: BUDGET_MS };
}

/** What a realm answers; what it says, where that should be a token. One that breaks off while it does has not answered. */
async function ask(
  { registry }: Wanted,
  name: string,
  question: Question,
): Promise<{ status: number; bytes?: Uint8Array }> {
  try {
    const { status, body, drop } = await exchange(question);
    if (status === 200) return { status, bytes: await collect(body, MAX_ANSWER, 'A token') };
    drop();
    return { status };
  } catch (cause) {
    if (cause instanceof KallioError) throw cause;
    throw ociError('OCI_UNREACHABLE', `${name}, which makes the tokens for ${registry}, does not answer.`, {
      // It may say the realm's name too.
      cause: name === question.url.host ? cause : undefined,
    });
  }
}

function refused(
  { registry, actions }: Wanted,
  name: string,
  status: number,
  credentials?: Credentials,
): Error {
  if (status !== 400 && status !== 401 && status !== 403)
    return ociError('OCI_REGISTRY', `${name}, which makes the tokens for ${registry}, answered ${status}.`);
  const who = credentials === undefined ? 'nobody in particular' : 'the credentials that are stored for it';
  return ociError('OCI_DENIED', `${name} makes no token for ${registry} (${actions}) for ${who}.`, {
    hint: loginHint(registry),
  });
}
