import { DatabaseSync, StatementSync } from 'node:sqlite';

// A server that kills itself at the commit of the first evidence: `before` it, `after` it and before the answer, or `never`.

const [dataDir = '', moment] = process.argv.slice(2);
let armed = false;

DatabaseSync.prototype.prepare = new Proxy(DatabaseSync.prototype.prepare, {
  apply(prepare, database, [sql, ...others]) {
    armed ||= String(sql).startsWith('INSERT INTO results');
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

const { startServer } = await import('../src/index.ts');
const { url } = await startServer({ dataDir });
process.stdout.write(url);
