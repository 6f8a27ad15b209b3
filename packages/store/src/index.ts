export { Database } from './database.ts';
export type { StoreCode } from './error.ts';
export { blob, integer, optional, type Row, text, word } from './row.ts';
