import type { Client } from '@kallio/protocol';
import { readFile, readSecret } from './files.ts';
import { cliError } from './output/output.ts';

/** Options of every command that talks to a server. */
export interface ServerOptions {
  readonly server?: string;
  readonly ca?: string;
  readonly tokenFile?: string;
}

/** A client for the server that options or environment name, and what it does with it; closed afterwards. */
export async function withServer<T>(
  options: ServerOptions,
  use: (client: Client) => Promise<T>,
  access: 'token' | 'public' = 'token',
): Promise<T> {
  const url = options.server ?? process.env.KALLIO_SERVER;
  const ca = options.ca ?? process.env.KALLIO_CA;
  const tokenFile = options.tokenFile ?? process.env.KALLIO_TOKEN_FILE;
  if (url === undefined || ca === undefined) {
    throw cliError(
      'CLI_SERVER_MISSING',
      'Which server? Its address and its authority’s certificate are needed.',
      'Give --server https://HOST:PORT and --ca FILE, or set KALLIO_SERVER and KALLIO_CA.',
    );
  }
  if (access === 'token' && tokenFile === undefined) {
    throw cliError(
      'CLI_TOKEN_MISSING',
      'This needs a bearer token.',
      'Give --token-file FILE, or set KALLIO_TOKEN_FILE. kallio server init makes the first one.',
    );
  }
  const token = tokenFile === undefined ? undefined : readSecret(tokenFile);
  const { Client } = await import('@kallio/protocol/client');
  const client = new Client({
    url,
    ca: new TextDecoder().decode(readFile(ca)),
    ...(token === undefined ? {} : { token }),
  });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

/** A client for a trust agent's UNIX socket. */
export async function withAgent<T>(socket: string, use: (client: Client) => Promise<T>): Promise<T> {
  const { Client } = await import('@kallio/protocol/client');
  // A build session's closing waits for the TPM, the server and the log.
  const client = new Client({ url: `unix:${socket}`, timeoutMs: 120_000 });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}
