/** Where the lab says what it is doing. */
export type Say = (line: string) => void;

/** How often it is said that something still goes on. */
const STILL_MS = 15_000;

/** Says what begins, that it goes on where it takes long, and what it took. */
export async function told<T>(say: Say, what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const seconds = (digits: number) => ((performance.now() - started) / 1000).toFixed(digits);
  say(`… ${what}`);
  const still = setInterval(() => say(`  ${what}: ${seconds(0)} s so far`), STILL_MS);
  try {
    const result = await work();
    say(`✔ ${what} (${seconds(1)} s)`);
    return result;
  } finally {
    clearInterval(still);
  }
}
