export type { OrchestratorCode } from './error.ts';
export { mountOrchestrator, type OrchestratorOptions } from './mount.ts';
