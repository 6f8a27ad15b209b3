import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { OWN_PROCESS } from './test/support/own-process.ts';

const units = {
  testTimeout: 30_000,
  hookTimeout: 60_000,
  // Many wait for a TPM or a registry: no processor is kept free.
  maxWorkers: availableParallelism(),
};

export default defineConfig({
  test: {
    projects: [
      {
        // Files share a process with those before them: what they import is loaded once.
        test: {
          ...units,
          name: 'unit',
          include: [
            'test/**/*.test.ts',
            'packages/*/test/**/*.test.ts',
            'fuzz/test/*.test.ts',
            'lab/test/unit/*.test.ts',
          ],
          exclude: [...OWN_PROCESS],
          isolate: false,
        },
      },
      {
        test: { ...units, name: 'unit, own process', include: [...OWN_PROCESS] },
      },
      {
        // Scenarios share networks and container storage of one machine: one file at a time (beside the others: scripts/test.sh).
        test: {
          name: 'e2e',
          include: ['e2e/[0-9][0-9]-*/**/*.test.ts', 'e2e/[0-9][0-9]-*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
