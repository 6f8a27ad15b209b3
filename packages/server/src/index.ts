export type { ServerCode } from './codes.ts';
export type { ServerContext } from './context.ts';
export { type ConfigDecisions, ServerConfig } from './setup/config.ts';
export { type InitOptions, initServer, resetAdminToken } from './setup/init.ts';
export { rotateResultKeys } from './setup/result-keys.ts';
export { type RunningServer, type StartOptions, startServer } from './start.ts';
