import type { SecureBoot } from './schema.ts';

/** What the firmware's secure boot must be. */
export interface SecureBootReference {
  readonly enabled: boolean;
  /** By variable: PK, KEK, db, dbx. */
  readonly databases: ReadonlyMap<
    string,
    { readonly certificates: ReadonlySet<string>; readonly hashes: ReadonlySet<string> }
  >;
}

export function compileSecureBoot({ enabled, ...databases }: SecureBoot): SecureBootReference {
  return {
    enabled,
    databases: new Map(
      Object.entries(databases).map(([name, { certificates = [], hashes = [] }]) => [
        name,
        { certificates: new Set(certificates), hashes: new Set(hashes) },
      ]),
    ),
  };
}
