import { Database } from '@kallio/store';
import { Instances } from './instances.ts';
import { MIGRATIONS } from './migrations.ts';
import { Operations } from './operations.ts';
import { Orders } from './orders.ts';
import { Packages } from './packages.ts';

/** Everything the orchestrator keeps: one class a concept, all over one database. */
export interface Store {
  readonly packages: Packages;
  readonly instances: Instances;
  readonly operations: Operations;
  readonly orders: Orders;
  /** Runs `work` as one durable transaction; see {@link Database.transaction}. */
  transaction<T>(work: () => T): T;
  close(): void;
}

/** Opens the store at this path, bringing its schema up to date. */
export function openStore(path: string): Store {
  const db = new Database(path, MIGRATIONS);
  return {
    packages: new Packages(db),
    instances: new Instances(db),
    operations: new Operations(db),
    orders: new Orders(db),
    transaction: (work) => db.transaction(work),
    close: () => db.close(),
  };
}
