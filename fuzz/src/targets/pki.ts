import { fromUtf8, utf8 } from '@kallio/codec';
import { createAuthority, issueServerCertificate, parsePemCertificates } from '@kallio/pki';
import type { Target } from '../target.ts';

/** Certificates in PEM. */
export async function certificates(): Promise<Target> {
  const now = new Date();
  const authority = await createAuthority('fuzz', now, 1);
  const { certificate } = await issueServerCertificate(authority, {
    names: ['a.example', '192.0.2.1'],
    now,
    days: 1,
  });
  return {
    seeds: [authority.certificate, certificate, `${certificate}${authority.certificate}`].map(utf8),
    take: (input) => parsePemCertificates(fromUtf8(input)),
  };
}
