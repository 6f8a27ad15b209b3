import { toBase64, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '../../src/index.ts';

/** A message with every field there is. Its shape is right; nothing in it is signed. */
export function honestMessage(): EvidenceMessage {
  const image = `sha256:${'ab'.repeat(32)}`;
  return {
    version: 'kallio-evidence-v1',
    purpose: 'attest',
    attester: 'device-1',
    nonce: '0a'.repeat(32),
    quote: { attest: toBase64(utf8('attest')), signature: toBase64(utf8('signature')) },
    pcrs: [{ bank: 'sha256', values: { 0: '00'.repeat(32), 23: 'ff'.repeat(32) } }],
    eventLog: toBase64(utf8('event log')),
    ima: { from: 3, entries: toBase64(utf8('entries')) },
    instanceLog: {
      from: 7,
      entries: [
        {
          seq: 7,
          salt: '0b'.repeat(32),
          event: { verb: 'create', instance: 'shop-1', container: 'c1', image, config: image },
        },
      ],
    },
    inventory: {
      scope: 'machine',
      containers: [
        { container: 'c1', processes: [{ pid: 1, executable: '/bin/server', sha256: '0c'.repeat(32) }] },
      ],
      changed: [{ container: 'c1', path: '/etc/shop.conf' }],
    },
  };
}
