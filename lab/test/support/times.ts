import { basename, dirname } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';
import { say } from './say.ts';

/** Says at the end of all scenarios where the time went. */
export default class Times implements Reporter {
  readonly #started = performance.now();
  #ready = this.#started;

  /** Called when the first scenario begins: what came before is the set-up of the site. */
  onTestModuleStart(): void {
    if (this.#ready === this.#started) this.#ready = performance.now();
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows: [seconds: number, what: string][] = [
      [this.#ready - this.#started, 'set-up: what is built, server, the first machine'],
    ];
    for (const module of modules) {
      const name = basename(dirname(module.moduleId));
      const tests = [...module.children.allTests()];
      const took = tests.map((test) => test.diagnostic()?.duration ?? 0);
      for (const [i, test] of tests.entries()) rows.push([took[i] ?? 0, `${name} › ${test.name}`]);
      const hooks = module.diagnostic().duration - took.reduce((sum, one) => sum + one, 0);
      rows.push([hooks, `${name} › set-up and what puts the device right again`]);
    }
    say('\nWhere the time went');
    for (const [ms, what] of rows) say(`${(ms / 1000).toFixed(0).padStart(6)} s  ${what}`);
    say(`${((performance.now() - this.#started) / 1000).toFixed(0).padStart(6)} s  in all`);
  }
}
