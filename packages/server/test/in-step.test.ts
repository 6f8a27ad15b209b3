import { expect, it } from 'vitest';
import { InStep } from '../src/attestation/in-step.ts';

/** Three parts of work, each of which says that it was done. */
async function work(steps: InStep, name: string, done: string[]): Promise<void> {
  await steps.begin();
  done.push(`${name}1`);
  await steps.next();
  done.push(`${name}2`);
  await steps.next();
  done.push(`${name}3`);
}

it('lets all who came in one turn do a part before any does the next', async () => {
  const steps = new InStep();
  const done: string[] = [];
  await Promise.all(['a', 'b', 'c'].map((name) => work(steps, name, done)));
  expect(done).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'c2', 'a3', 'b3', 'c3']);
});

it('waits for nobody who comes later', async () => {
  const steps = new InStep();
  const done: string[] = [];
  const first = work(steps, 'a', done);
  await steps.begin();
  const second = work(steps, 'b', done);
  await Promise.all([first, second]);
  expect(done).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'b3']);
});
