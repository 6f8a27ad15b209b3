import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/**/*.test.ts',
            'packages/*/test/**/*.test.ts',
            'fuzz/test/*.test.ts',
            'lab/test/unit/*.test.ts',
          ],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        // Scenarios share one machine's registry ports and container storage: one file at a time.
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
