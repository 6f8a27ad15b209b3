import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of the trust agent, its identity's apart. */
export type AgentCode =
  | 'AGENT_CONFIG'
  | 'AGENT_KIND'
  | 'AGENT_BUSY'
  | 'AGENT_NOT_CONNECTED'
  | 'ENROL_REFUSED'
  | 'ENROL_PENDING'
  | 'BUILD_SESSION_UNKNOWN'
  | 'BUILD_CLAIMS'
  | 'MEASUREMENTS_UNREADABLE'
  | 'INSTANCE_LOG_DIVERGED'
  | 'INSTANCE_LOG_CORRUPT'
  | 'INSTANCE_NOT_ORDERED'
  | 'INSTANCE_UNKNOWN'
  | 'INSTANCE_EXEC_FORBIDDEN'
  | 'INSTANCE_VERB_FORBIDDEN'
  | 'INSTANCE_CONFIG_ANNOTATION'
  | 'INSTANCE_CONFIG_ARGUMENTS'
  | 'INSTANCE_CONFIG_CAPABILITY'
  | 'INSTANCE_CONFIG_DEVICE'
  | 'INSTANCE_CONFIG_ENVIRONMENT'
  | 'INSTANCE_CONFIG_HOOK'
  | 'INSTANCE_CONFIG_LABEL'
  | 'INSTANCE_CONFIG_MASKED_PATH'
  | 'INSTANCE_CONFIG_MOUNT'
  | 'INSTANCE_CONFIG_NAMESPACE'
  | 'INSTANCE_CONFIG_RESOURCES'
  | 'INSTANCE_CONFIG_ROOT'
  | 'INSTANCE_CONFIG_SECCOMP'
  | 'INSTANCE_CONFIG_SHAPE'
  | 'INSTANCE_CONFIG_USER'
  | 'INSTANCE_FILE_CHANGED'
  | 'GRANT_MISMATCH'
  | 'GRANT_EXPIRED'
  | 'RUNTIME_FAILED';

/** A refusal of this package. */
export function agentError(
  code: AgentCode,
  message: string,
  detail: RefusalDetail = {},
): KallioError<AgentCode> {
  return new KallioError(code, message, detail);
}
