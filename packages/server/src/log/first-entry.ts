import { canonicalBytes } from '@kallio/codec';
import type { LogWriter } from '@kallio/tlog';

/**
 * A log's first entry is of the log itself, so that no image signature has index 0: cosign 2.5 and sigstore-go of its
 * time take that for an index that is not there, and refuse the bundle ("nil value in transaction log entry").
 */
export async function addFirstEntry(log: LogWriter): Promise<void> {
  if (log.head.size > 0) return;
  const { origin } = log.head;
  await log.add(canonicalBytes({ apiVersion: '0.0.1', kind: 'kallio-log', spec: { origin } }));
}
