export { AgentConfig, readConfig, socketOf } from './config.ts';
export { enrol, requireAdmitted } from './enrol.ts';
export type { AgentCode } from './error.ts';
export { openIdentity, type TpmIdentity } from './identity/identity.ts';
export { type RunningAgent, runAgent } from './run.ts';
