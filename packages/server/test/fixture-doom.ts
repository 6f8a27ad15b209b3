import { DatabaseSync, StatementSync } from 'node:sqlite';
import { isMainThread } from 'node:worker_threads';

// Loaded before anything else on each thread of a process: kills it at the commit of the first evidence that is written by
// the `main` thread or by `another`: `before` it, `after` it and before the answer, or `never`.

const [thread, moment] = (process.env.KALLIO_TEST_DOOM ?? '').split(' ');
const isHere = (thread === 'main') === isMainThread;
let armed = false;

DatabaseSync.prototype.prepare = new Proxy(DatabaseSync.prototype.prepare, {
  apply(prepare, database, [sql, ...others]) {
    armed ||= isHere && String(sql).startsWith('INSERT INTO results');
    return Reflect.apply(prepare, database, [sql, ...others]);
  },
});

StatementSync.prototype.run = new Proxy(StatementSync.prototype.run, {
  apply(run, statement: StatementSync, values) {
    const commit = armed && statement.sourceSQL === 'COMMIT';
    if (commit && moment === 'before') die();
    const result = Reflect.apply(run, statement, values);
    if (commit && moment === 'after') die();
    return result;
  },
});

function die(): void {
  process.kill(process.pid, 'SIGKILL');
  // The signal is on its way: nothing more may happen here.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
