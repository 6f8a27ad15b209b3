/** An installed package: `bash 5.2.15-2+b7`. */
export type PackageName = string;

const MAX_PACKAGES = 100_000;

/** The packages of a dpkg status file that are installed, sorted. Stanzas that name none are passed over. */
export function installedPackages(status: string): PackageName[] {
  return stanzas(status)
    .filter((fields) => /^\S+ ok installed$/.test(fields.get('status') ?? ''))
    .flatMap((fields) => packageName(fields) ?? [])
    .slice(0, MAX_PACKAGES)
    .sort();
}

/** The package of a control file. */
export function controlPackage(control: string): PackageName | undefined {
  const [fields] = stanzas(control);
  return fields === undefined ? undefined : packageName(fields);
}

function packageName(fields: ReadonlyMap<string, string>): PackageName | undefined {
  const name = fields.get('package');
  const version = fields.get('version');
  const good = name !== undefined && version !== undefined && /^[a-z0-9][a-z0-9+.-]*$/.test(name);
  return good && /^[A-Za-z0-9.+~:-]+$/.test(version) ? `${name} ${version}` : undefined;
}

/** Fields of one line each, names in lower case (Debian Policy, section 5.1). */
function stanzas(text: string): ReadonlyMap<string, string>[] {
  return text.split(/\n{2,}/).flatMap((stanza) => {
    const fields = new Map<string, string>();
    for (const line of stanza.split('\n')) {
      const match = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$/.exec(line);
      const [, name = '', value = ''] = match ?? [];
      if (match !== null) fields.set(name.toLowerCase(), value.trimEnd());
    }
    return fields.size === 0 ? [] : [fields];
  });
}
