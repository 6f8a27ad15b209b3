import { KallioError } from '@kallio/codec';
import {
  grantShow,
  instanceCreate,
  instanceDelete,
  instanceInstantiate,
  instanceShow,
  instancesList,
  instanceTerminate,
  opOccShow,
  opOccsList,
} from '@kallio/protocol';
import { type Authenticate, newId, serve } from '@kallio/protocol/serve';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { orchestratorError } from '../error.ts';
import type { StoredInstance } from '../store/instances.ts';
import type { Store } from '../store/store.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Verifier } from './verifier.ts';
import { instanceViews, operationView } from './view.ts';

/** Operations shown in a list. */
const RECENT = 500;

/** Application life-cycle management and granting: ETSI GS MEC 010-2 v2.1.1, clauses 7.4 and 7.5. */
export function lifecycleRoutes(
  app: FastifyInstance,
  authenticate: Authenticate,
  parts: { readonly store: Store; readonly lifecycle: Lifecycle; readonly verifier: Verifier },
): void {
  const { store, lifecycle, verifier } = parts;
  const need = (id: string): StoredInstance => {
    const found = store.instances.get(id);
    if (found === undefined) throw new KallioError('NOT_FOUND', 'There is no such instance.');
    return found;
  };
  const views = (found: readonly StoredInstance[]) =>
    instanceViews(
      found.map((instance) => [instance, store.packages.get(instance.package)] as const),
      verifier,
    );
  const shown = async (id: string) => {
    const [view] = await views([need(id)]);
    if (view === undefined) throw new KallioError('NOT_FOUND', 'There is no such instance.');
    return view;
  };

  serve(
    app,
    instanceCreate,
    authenticate,
    ({ body }, { reply }) => {
      const onboarded = store.packages.current(body.appDId);
      if (onboarded === undefined) {
        throw new KallioError('NOT_FOUND', `There is no package of the application ${body.appDId}.`, {
          hint: 'kallio packages list says which applications are onboarded.',
        });
      }
      if (onboarded.state !== 'ONBOARDED') {
        throw orchestratorError('PACKAGE_NOT_ENABLED', 'The package’s image is still being checked.');
      }
      const id = newId();
      // COMMIT POINT: one statement, durable when it returns.
      store.instances.create(id, body.appInstanceName, onboarded.id, Date.now());
      reply.header('location', instanceShow.path.replace(':appInstanceId', id));
      return shown(id);
    },
    { status: 201 },
  );
  serve(app, instancesList, authenticate, () => views(store.instances.all()));
  serve(app, instanceShow, authenticate, ({ params }) => shown(params.appInstanceId));
  serve(
    app,
    instanceDelete,
    authenticate,
    ({ params }) => {
      store.transaction(() => {
        const { id, device } = need(params.appInstanceId);
        if (device !== undefined || store.operations.runningOf(id) !== undefined) {
          throw orchestratorError('INSTANCE_STATE', 'This instance is not stopped.', {
            hint: `Stop it first: kallio apps stop ${id}`,
          });
        }
        store.instances.delete(id);
      });
      return {};
    },
    { status: 204 },
  );

  const accepted = (reply: FastifyReply, appLcmOpOccId: string) => {
    reply.header('location', opOccShow.path.replace(':appLcmOpOccId', appLcmOpOccId));
    return { appLcmOpOccId };
  };
  serve(
    app,
    instanceInstantiate,
    authenticate,
    ({ params, body }, { reply }) => {
      const hosts = (body.selectedMECHostInfo ?? []).map(({ hostName }) => hostName);
      return accepted(reply, lifecycle.instantiate(params.appInstanceId, hosts));
    },
    { status: 202 },
  );
  serve(
    app,
    instanceTerminate,
    authenticate,
    ({ params }, { reply }) => accepted(reply, lifecycle.terminate(params.appInstanceId)),
    { status: 202 },
  );

  serve(app, opOccsList, authenticate, () => store.operations.recent(RECENT).map(operationView));
  serve(app, opOccShow, authenticate, ({ params }) => {
    const found = store.operations.get(params.appLcmOpOccId);
    if (found === undefined) throw new KallioError('NOT_FOUND', 'There is no such operation.');
    return operationView(found);
  });
  serve(app, grantShow, authenticate, ({ params }) => {
    const found = store.operations.grantShown(params.grantId);
    if (found === undefined) throw new KallioError('NOT_FOUND', 'There is no such grant.');
    return found;
  });
}
