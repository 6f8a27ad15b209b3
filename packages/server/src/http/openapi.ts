import swagger from '@fastify/swagger';
import type { Route } from '@kallio/protocol';
import type { FastifyInstance } from 'fastify';
import { VERSION } from '../version.ts';

/**
 * Publishes `/openapi.json`, printed from the schemas that requests are validated by. Register before the routes.
 * `declared` fills up as routes are mounted; it brings the replies' schemas and who may call.
 */
export async function publishOpenApi(
  app: FastifyInstance,
  declared: ReadonlyMap<string, Route>,
): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Kallio attestation server',
        description: 'Attestation server, log service and what is mounted beside them.',
        version: VERSION,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      },
    },
    transform: ({ schema, url, route }) => {
      const declaration = declared.get(`${String(route.method)} ${url}`);
      if (declaration === undefined) return { schema, url };
      return {
        schema: {
          ...schema,
          response: {
            200: {
              description: 'The answer.',
              content: { 'application/json': { schema: declaration.reply } },
            },
          },
          description: `May be called by: ${declaration.access.join(', ')}.`,
        },
        url,
      };
    },
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}
