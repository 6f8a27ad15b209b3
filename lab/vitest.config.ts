import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** By their numbers, and not by what failed or took long the last time: a later one uses what an earlier one has left. */
class ByNumber extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1));
  }
}

/** `npm run test:lab`: scenarios on machines that boot. One at a time: each has the processor for itself. */
export default defineConfig({
  test: {
    name: 'lab',
    root: import.meta.dirname,
    include: ['test/[0-9][0-9]-*/*.test.ts'],
    globalSetup: ['test/support/site.ts'],
    reporters: ['verbose', './test/support/times.ts'],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    sequence: { concurrent: false, sequencer: ByNumber },
  },
});
