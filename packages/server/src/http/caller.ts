import type { CallContext } from '@kallio/protocol/serve';

/** Who did it, for the record: `token:NAME`, `attester:ID`. */
export function callerName({ principal }: CallContext): string {
  switch (principal.kind) {
    case 'token':
      return `token:${principal.name}`;
    case 'attester':
      return `attester:${principal.attester}`;
    case 'anonymous':
      return 'anonymous';
  }
}

/** The attester that calls, or `undefined` when a person does. */
export function callingAttester({ principal }: CallContext): string | undefined {
  return principal.kind === 'attester' ? principal.attester : undefined;
}
