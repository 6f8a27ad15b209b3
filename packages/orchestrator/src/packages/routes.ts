import { KallioError } from '@kallio/codec';
import { PACKAGE_CONTENT, packageCreate, packageDelete, packageShow, packagesList } from '@kallio/protocol';
import { type Authenticate, newId, requireAccess, serve } from '@kallio/protocol/serve';
import type { FastifyInstance } from 'fastify';
import { orchestratorError } from '../error.ts';
import type { StoredPackage } from '../store/packages.ts';
import type { Store } from '../store/store.ts';
import { MAX_PACKAGE, readArchive } from './archive.ts';
import type { Onboarding } from './onboarding.ts';
import { packageView } from './view.ts';

/** Application package management: ETSI GS MEC 010-2 v2.1.1, clause 7.3. */
export function packageRoutes(
  app: FastifyInstance,
  authenticate: Authenticate,
  store: Store,
  onboarding: Onboarding,
): void {
  const view = (found: StoredPackage) => packageView(found, store.packages.inUse(found.id));
  const need = (id: string): StoredPackage => {
    const found = store.packages.get(id);
    if (found === undefined) throw new KallioError('NOT_FOUND', 'There is no such package.');
    return found;
  };

  serve(
    app,
    packageCreate,
    authenticate,
    ({ body }, { reply }) => {
      const id = newId();
      const { appPkgName: name, appPkgVersion: version, appProvider: provider = '' } = body;
      // COMMIT POINT: one statement, durable when it returns.
      store.packages.create(id, { name, version, provider }, Date.now());
      reply.header('location', packageShow.path.replace(':appPkgId', id));
      return view(need(id));
    },
    { status: 201 },
  );

  app.addContentTypeParser(
    'application/zip',
    { parseAs: 'buffer', bodyLimit: MAX_PACKAGE },
    (_request, body, done) => done(null, body),
  );
  app.put<{ Params: { appPkgId: string } }>(
    PACKAGE_CONTENT,
    {
      bodyLimit: MAX_PACKAGE,
      schema: { summary: 'Upload a package; 202 once it is on disk (MEC 010-2 clause 7.3.6)' },
      // Before the body is read.
      onRequest: async (request) => requireAccess(await authenticate(request), ['operator']),
    },
    async (request, reply) => {
      const { id } = need(request.params.appPkgId);
      if (!(request.body instanceof Uint8Array)) {
        throw new KallioError('REQUEST_INVALID', 'A package’s content is application/zip.');
      }
      const content = new Uint8Array(request.body);
      const appd = readArchive(content);
      // COMMIT POINT: descriptor, content and state become durable together, before the answer.
      store.transaction(() => {
        const { state } = need(id);
        if (state !== 'CREATED') {
          throw orchestratorError('PACKAGE_STATE', 'This package’s content has been uploaded already.', {
            hint: 'Create another package; delete this one where it is not in use.',
          });
        }
        const other = store.packages.current(appd.appDId);
        if (other !== undefined) {
          throw orchestratorError(
            'APPD_TAKEN',
            `The application ${appd.appDId} is there as package ${other.id}.`,
            {
              pointer: '/appDId',
              hint: 'Delete that package, or give the new version an appDId of its own.',
            },
          );
        }
        store.packages.upload(id, appd, content);
      });
      onboarding.due(id);
      return reply.code(202).send();
    },
  );

  serve(app, packagesList, authenticate, () => store.packages.all().map(view));
  serve(app, packageShow, authenticate, ({ params }) => view(need(params.appPkgId)));
  serve(
    app,
    packageDelete,
    authenticate,
    ({ params }) => {
      store.transaction(() => {
        const { id, state } = need(params.appPkgId);
        if (store.packages.inUse(id)) {
          throw orchestratorError('PACKAGE_IN_USE', 'Instances of this package are there.', {
            hint: 'Stop and delete them first: kallio apps list, kallio apps stop ID.',
          });
        }
        if (state === 'PROCESSING') {
          throw orchestratorError('PACKAGE_STATE', 'This package’s image is being checked; try again soon.');
        }
        store.packages.delete(id);
      });
      return {};
    },
    { status: 204 },
  );
}
