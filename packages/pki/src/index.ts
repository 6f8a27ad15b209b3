export {
  createAuthority,
  issueAttesterCertificate,
  issueServerCertificate,
  type KeyedCertificate,
} from './authority.ts';
export { parsePemCertificates } from './certificate.ts';
export { certifiedKey, type EkEndorsement, verifyEkChain } from './ek-chain.ts';
export type { PkiCode } from './error.ts';
export { attesterOf } from './spiffe.ts';
