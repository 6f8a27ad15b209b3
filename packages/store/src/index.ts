export { CommitThread } from './commit-thread.ts';
export { Database, type Upgrade } from './database.ts';
export type { StoreCode } from './error.ts';
export { GroupCommit } from './group-commit.ts';
export { blob, integer, optional, type Row, text, word } from './row.ts';
export type { Write } from './write.ts';
