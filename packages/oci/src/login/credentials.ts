interface Password {
  readonly username: string;
  readonly password: string;
}

/** What a registry knows somebody by. */
export type Credentials =
  | Password
  /** What a registry's login gave instead of keeping the password: fit to ask for tokens with, and for nothing else. */
  | { readonly identityToken: string };

/** Finds the credentials for a repository; undefined where there are none. Asked only once a registry wants to know. */
export type FindCredentials = (registry: string, repository: string) => Promise<Credentials | undefined>;

/** The value of `Authorization` that says them as they are (RFC 7617 section 2); undefined for what is no password. */
export function basicAuthorization(credentials: Credentials | undefined): string | undefined {
  if (credentials === undefined || 'identityToken' in credentials) return undefined;
  return `Basic ${userPass(credentials)}`;
}

/** What of them is secret, as it is shown. The name is not, and an error may well say it. */
export function secretsOf(credentials: Credentials | undefined): readonly string[] {
  if (credentials === undefined) return [];
  if ('identityToken' in credentials) return [credentials.identityToken];
  return [credentials.password, userPass(credentials)];
}

function userPass({ username, password }: Password): string {
  return Buffer.from(`${username}:${password}`).toString('base64');
}
