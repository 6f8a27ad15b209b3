import { defineConfig } from 'vitest/config';

/** `npm run test:lab`: scenarios on machines that boot. One at a time: each has the processor for itself. */
export default defineConfig({
  test: {
    name: 'lab',
    root: import.meta.dirname,
    include: ['test/[0-9][0-9]-*/*.test.ts'],
    globalSetup: ['test/support/site.ts'],
    reporters: ['verbose'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    fileParallelism: false,
    sequence: { concurrent: false },
  },
});
