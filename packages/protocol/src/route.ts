import type { Static, TSchema } from 'typebox';

/** Who may call: anyone, an attester by its client certificate, or a person or program by a bearer token's role. */
export type Access = 'public' | 'attester' | 'viewer' | 'operator' | 'admin';

/** One HTTP exchange, declared once: servers validate by it, clients are typed by it, OpenAPI is printed from it. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Path with `:name` parameters. */
  readonly path: string;
  readonly access: readonly Access[];
  readonly summary: string;
  readonly params?: TSchema;
  readonly query?: TSchema;
  readonly body?: TSchema;
  readonly reply: TSchema;
}

type Part<R extends Route, K extends 'params' | 'query' | 'body'> = R[K] extends TSchema
  ? { readonly [P in K]: Static<R[K]> }
  : unknown;

/** What a call of a route needs: exactly the parts it declares. */
export type CallInput<R extends Route> = Part<R, 'params'> & Part<R, 'query'> & Part<R, 'body'>;

/** What a call of a route answers. */
export type Reply<R extends Route> = Static<R['reply']>;

/** Keeps a declaration's literal types. */
export function route<const R extends Route>(declaration: R): R {
  return declaration;
}

/** A route's path with its parameters filled in, each percent-encoded. */
export function fillPath(path: string, params: Record<string, unknown>): string {
  return path.replace(/:([A-Za-z]+)/g, (_, name: string) => encodeURIComponent(String(params[name])));
}
