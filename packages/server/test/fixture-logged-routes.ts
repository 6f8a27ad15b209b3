import { createApp } from '@kallio/protocol/serve';
import { logRequests } from '../src/http/logging.ts';

/*
 * Asks for some routes with the log at the level that is given, and ends: node fixture-logged-routes.ts info|debug. Standard
 * error is the log.
 */
const app = createApp();
logRequests(app, process.argv[2] === 'debug' ? 'debug' : 'info');
const config = { takesBytes: false, quiet: true };
app.get('/quiet', { config }, async (_, reply) => reply.send({}));
app.get('/refused', { config }, async (_, reply) => reply.code(422).send({}));
app.get('/usual', async () => ({}));
for (const url of ['/quiet', '/refused', '/usual', '/nothing']) await app.inject({ method: 'GET', url });
await app.close();
