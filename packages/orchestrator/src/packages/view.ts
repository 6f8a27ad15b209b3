import type { AppPkgInfo } from '@kallio/protocol';
import type { StoredPackage } from '../store/packages.ts';

/** A package as everybody is told it. */
export function packageView(stored: StoredPackage, inUse: boolean): AppPkgInfo {
  const { appd, state, digest, builder, refusal } = stored;
  return {
    id: stored.id,
    appDId: appd?.appDId ?? '',
    appName: appd?.appName ?? stored.name,
    appProvider: appd?.appProvider ?? stored.provider,
    appSoftwareVersion: appd?.appSoftVersion ?? stored.version,
    appDVersion: appd?.appDVersion ?? '',
    // The standard knows no refused package: it is one whose processing never comes to an end, with the reason below.
    onboardingState: state === 'REFUSED' ? 'PROCESSING' : state,
    operationalState: state === 'ONBOARDED' ? 'ENABLED' : 'DISABLED',
    usageState: inUse ? 'IN_USE' : 'NOT_IN_USE',
    ...(appd === undefined
      ? {}
      : {
          kallio: {
            image: appd.swImageDescriptor.swImage,
            ...(digest === undefined ? {} : { digest }),
            state:
              state === 'ONBOARDED'
                ? ('VERIFIED' as const)
                : state === 'REFUSED'
                  ? ('VIOLATED' as const)
                  : ('UNKNOWN' as const),
            ...(builder === undefined ? {} : { builder }),
            ...(refusal === undefined ? {} : { refusal }),
          },
        }),
  };
}
