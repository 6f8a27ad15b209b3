import { DigestSchema, Exact } from '@kallio/codec';
import { AttesterId } from '@kallio/evidence';
import { type Static, Type } from 'typebox';
import { Id, RefusalReply, State, Time } from './common.ts';
import { route } from './route.ts';

/*
 * ETSI GS MEC 010-2 v2.1.1: application package management, life cycle management, granting. Field names are the
 * standard's. What Kallio adds stands under `kallio`, which the standard leaves to the implementer.
 */

export const AppPkgInfo = Type.Object({
  id: Id,
  appDId: Type.String(),
  appName: Type.String(),
  appProvider: Type.String(),
  appSoftwareVersion: Type.String(),
  appDVersion: Type.String(),
  onboardingState: Type.Union([
    Type.Literal('CREATED'),
    Type.Literal('UPLOADING'),
    Type.Literal('PROCESSING'),
    Type.Literal('ONBOARDED'),
  ]),
  operationalState: Type.Union([Type.Literal('ENABLED'), Type.Literal('DISABLED')]),
  usageState: Type.Union([Type.Literal('IN_USE'), Type.Literal('NOT_IN_USE')]),
  /** What the image check said; absent before content is uploaded. */
  kallio: Type.Optional(
    Exact({
      image: Type.String(),
      digest: Type.Optional(DigestSchema),
      state: State,
      builder: Type.Optional(AttesterId),
      refusal: Type.Optional(RefusalReply),
    }),
  ),
});
export type AppPkgInfo = Static<typeof AppPkgInfo>;

const PkgParams = Exact({ appPkgId: Id });

export const packageCreate = route({
  method: 'POST',
  path: '/app_pkgm/v1/app_packages',
  access: ['operator'],
  summary: 'Create an application package resource (MEC 010-2 clause 7.3.1)',
  body: Type.Object({
    appPkgName: Type.String({ minLength: 1, maxLength: 128 }),
    appPkgVersion: Type.String({ minLength: 1, maxLength: 64 }),
    appProvider: Type.Optional(Type.String({ maxLength: 128 })),
    userDefinedData: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  }),
  reply: AppPkgInfo,
});

/** Body: the package as a ZIP (CSAR), `application/zip`. Answered 202 once the content is on disk. */
export const PACKAGE_CONTENT = '/app_pkgm/v1/app_packages/:appPkgId/package_content';

export const packagesList = route({
  method: 'GET',
  path: '/app_pkgm/v1/app_packages',
  access: ['viewer'],
  summary: 'Application packages',
  reply: Type.Array(AppPkgInfo),
});

export const packageShow = route({
  method: 'GET',
  path: '/app_pkgm/v1/app_packages/:appPkgId',
  access: ['viewer'],
  summary: 'One application package',
  params: PkgParams,
  reply: AppPkgInfo,
});

export const packageDelete = route({
  method: 'DELETE',
  path: '/app_pkgm/v1/app_packages/:appPkgId',
  access: ['operator'],
  summary: 'Delete a package that is not in use',
  params: PkgParams,
  reply: Exact({}),
});

export const AppInstanceInfo = Type.Object({
  id: Id,
  appInstanceName: Type.Optional(Type.String()),
  appDId: Type.String(),
  appPkgId: Id,
  instantiationState: Type.Union([Type.Literal('NOT_INSTANTIATED'), Type.Literal('INSTANTIATED')]),
  operationalState: Type.Optional(Type.Union([Type.Literal('STARTED'), Type.Literal('STOPPED')])),
  kallio: Type.Optional(
    Exact({
      device: Type.Optional(AttesterId),
      digest: Type.Optional(DigestSchema),
      state: State,
      /** Where it answers, as the device reports it: `http://host:port`. */
      address: Type.Optional(Type.String({ maxLength: 256 })),
      refusal: Type.Optional(RefusalReply),
    }),
  ),
});
export type AppInstanceInfo = Static<typeof AppInstanceInfo>;

const InstanceParams = Exact({ appInstanceId: Id });

export const instanceCreate = route({
  method: 'POST',
  path: '/app_lcm/v1/app_instances',
  access: ['operator'],
  summary: 'Create an application instance resource (MEC 010-2 clause 7.4.1)',
  body: Type.Object({
    appDId: Type.String({ minLength: 1, maxLength: 128 }),
    appInstanceName: Type.Optional(Type.String({ maxLength: 128 })),
    appInstanceDescription: Type.Optional(Type.String({ maxLength: 1024 })),
  }),
  reply: AppInstanceInfo,
});

export const instancesList = route({
  method: 'GET',
  path: '/app_lcm/v1/app_instances',
  access: ['viewer'],
  summary: 'Application instances',
  reply: Type.Array(AppInstanceInfo),
});

export const instanceShow = route({
  method: 'GET',
  path: '/app_lcm/v1/app_instances/:appInstanceId',
  access: ['viewer'],
  summary: 'One application instance',
  params: InstanceParams,
  reply: AppInstanceInfo,
});

export const instanceDelete = route({
  method: 'DELETE',
  path: '/app_lcm/v1/app_instances/:appInstanceId',
  access: ['operator'],
  summary: 'Delete an application instance resource that is not instantiated',
  params: InstanceParams,
  reply: Exact({}),
});

const OpOccRef = Exact({ appLcmOpOccId: Id });

export const instanceInstantiate = route({
  method: 'POST',
  path: '/app_lcm/v1/app_instances/:appInstanceId/instantiate',
  access: ['operator'],
  summary: 'Place and start; 202, with the operation occurrence to follow',
  params: InstanceParams,
  body: Type.Object({
    selectedMECHostInfo: Type.Optional(Type.Array(Type.Object({ hostName: AttesterId }), { maxItems: 16 })),
  }),
  reply: OpOccRef,
});

export const instanceTerminate = route({
  method: 'POST',
  path: '/app_lcm/v1/app_instances/:appInstanceId/terminate',
  access: ['operator'],
  summary: 'Stop and remove; 202, with the operation occurrence to follow',
  params: InstanceParams,
  body: Type.Object({
    terminationType: Type.Optional(Type.Union([Type.Literal('FORCEFUL'), Type.Literal('GRACEFUL')])),
  }),
  reply: OpOccRef,
});

export const AppLcmOpOcc = Type.Object({
  id: Id,
  appInstanceId: Id,
  lcmOperation: Type.Union([Type.Literal('INSTANTIATE'), Type.Literal('OPERATE'), Type.Literal('TERMINATE')]),
  operationState: Type.Union([
    Type.Literal('STARTING'),
    Type.Literal('PROCESSING'),
    Type.Literal('COMPLETED'),
    Type.Literal('FAILED'),
  ]),
  startTime: Time,
  stateEnteredTime: Time,
  grantId: Type.Optional(Id),
  error: Type.Optional(RefusalReply),
});
export type AppLcmOpOcc = Static<typeof AppLcmOpOcc>;

export const opOccsList = route({
  method: 'GET',
  path: '/app_lcm/v1/app_lcm_op_occs',
  access: ['viewer'],
  summary: 'Life-cycle operation occurrences',
  reply: Type.Array(AppLcmOpOcc),
});

export const opOccShow = route({
  method: 'GET',
  path: '/app_lcm/v1/app_lcm_op_occs/:appLcmOpOccId',
  access: ['viewer'],
  summary: 'One operation occurrence',
  params: OpOccRef,
  reply: AppLcmOpOcc,
});

/** A grant names the evidence it rests on and lapses with it. */
export const Grant = Type.Object({
  id: Id,
  appInstanceId: Id,
  appLcmOpOccId: Id,
  kallio: Exact({
    attester: AttesterId,
    /** resetCount of the boot that was attested. */
    boot: Type.Integer(),
    /** Digest of the result. */
    result: DigestSchema,
    image: DigestSchema,
    expiresAt: Time,
  }),
});
export type Grant = Static<typeof Grant>;

export const grantShow = route({
  method: 'GET',
  path: '/granting/v1/grants/:grantId',
  access: ['viewer'],
  summary: 'One grant (MEC 010-2 clause 7.5.1)',
  params: Exact({ grantId: Id }),
  reply: Grant,
});

/*
 * Between orchestrator and device. The device dials out; orders come as server-sent events and are answered by reports.
 */

/** Server-sent events to a device: `event: order`, data {@link DeviceOrder}. Unanswered orders are sent again. */
export const DEVICE_STREAM = '/v1/devices/stream';

export const DeviceOrder = Type.Union([
  Exact({
    order: Id,
    action: Type.Literal('start'),
    instance: Id,
    /** `registry/repository@sha256:…`. */
    image: Type.String({ maxLength: 512 }),
    grant: Grant,
    /** Ports of the application that are to be reachable. */
    ports: Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: 16 }),
    limits: Exact({ memoryMiB: Type.Integer({ minimum: 4 }), cpus: Type.Number({ minimum: 0.01 }) }),
  }),
  Exact({ order: Id, action: Type.Literal('stop'), instance: Id }),
]);
export type DeviceOrder = Static<typeof DeviceOrder>;

export const DeviceReport = Exact({
  order: Id,
  instance: Id,
  outcome: Type.Union([
    Type.Literal('started'),
    Type.Literal('stopped'),
    Type.Literal('refused'),
    Type.Literal('failed'),
  ]),
  address: Type.Optional(Type.String({ maxLength: 256 })),
  refusal: Type.Optional(RefusalReply),
  /** The steps of the device's own image check, for the record. */
  chain: Type.Optional(
    Type.Array(Exact({ step: Type.String({ maxLength: 64 }), detail: Type.String({ maxLength: 1024 }) }), {
      maxItems: 32,
    }),
  ),
});
export type DeviceReport = Static<typeof DeviceReport>;

export const deviceReport = route({
  method: 'POST',
  path: '/v1/devices/reports',
  access: ['attester'],
  summary: 'What became of an order',
  body: DeviceReport,
  reply: Exact({}),
});
