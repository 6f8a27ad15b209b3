/** Where the lab says what it is doing. */
export type Say = (line: string) => void;

/** Says what begins and what it took. */
export async function told<T>(say: Say, what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  say(`… ${what}`);
  const result = await work();
  say(`✔ ${what} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return result;
}
