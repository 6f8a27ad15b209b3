export { AgentConfig, readConfig, socketOf } from './config.ts';
export { enrol, requireAdmitted } from './enrol.ts';
export type { AgentCode } from './error.ts';
export { identityOf } from './identity/configured.ts';
export type { TpmIdentity } from './identity/identity.ts';
export { type RunningAgent, runAgent } from './run.ts';
export { installShim } from './shim/install.ts';
