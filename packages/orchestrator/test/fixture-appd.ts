import type { AppD } from '../src/packages/appd.ts';

/** A descriptor that is in order. */
export function appd(): AppD {
  return {
    appDId: 'sensor-gateway',
    appName: 'sensor-gateway',
    appProvider: 'Kallio',
    appSoftVersion: '1.0.0',
    appDVersion: '1.0.0',
    mecVersion: ['2.1.1'],
    appDescription: 'Takes readings.',
    virtualComputeDescriptor: {
      virtualCpu: { numVirtualCpu: 0.5 },
      virtualMemory: { virtualMemSize: 64 },
    },
    swImageDescriptor: { swImage: 'registry.example.org/sensor-gateway:1' },
  };
}
