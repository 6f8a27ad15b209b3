export { type Beforehand, CommitThread, type Found } from './commit-thread.ts';
export { Database, type Upgrade } from './database.ts';
export type { StoreCode } from './error.ts';
export { GroupCommit } from './group-commit.ts';
export { blob, integer, optional, type Row, text, word } from './row.ts';
export type { Late, LateWrite, Write } from './write.ts';
