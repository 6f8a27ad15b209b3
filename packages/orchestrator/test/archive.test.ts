import { zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { readArchive } from '../src/packages/archive.ts';
import { appd } from './fixture-appd.ts';

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('a package', () => {
  it('is read from the descriptor at its root, whatever else lies in it', () => {
    const zip = zipSync({ 'appd.json': text(appd()), 'charts/readme.md': text('hello') });
    expect(readArchive(zip)).toMatchObject({ appDId: 'sensor-gateway' });
  });

  const defects: readonly (readonly [string, () => Uint8Array, string])[] = [
    ['that is empty', () => new Uint8Array(0), 'PACKAGE_ARCHIVE'],
    ['that is no ZIP', () => text('PK'), 'PACKAGE_ARCHIVE'],
    ['that was cut short', () => zipSync({ 'appd.json': text(appd()) }).slice(0, 80), 'PACKAGE_ARCHIVE'],
    ['whose descriptor lies in a folder', () => zipSync({ 'x/appd.json': text(appd()) }), 'PACKAGE_ARCHIVE'],
    [
      'with a name that climbs',
      () => zipSync({ 'appd.json': text(appd()), 'a/../../b': text(0) }),
      'PACKAGE_ARCHIVE',
    ],
    [
      'with an absolute name',
      () => zipSync({ 'appd.json': text(appd()), '/etc/passwd': text(0) }),
      'PACKAGE_ARCHIVE',
    ],
    [
      'with a name as another system writes it',
      () => zipSync({ 'appd.json': text(appd()), '..\\x': text(0) }),
      'PACKAGE_ARCHIVE',
    ],
    [
      'of too many entries',
      () =>
        zipSync({
          'appd.json': text(appd()),
          ...Object.fromEntries(Array.from({ length: 256 }, (_, n) => [`f${n}`, text(n)])),
        }),
      'PACKAGE_ARCHIVE',
    ],
    [
      'that unpacks to very much',
      () => zipSync({ 'appd.json': text(appd()), zeros: new Uint8Array(33 * 1024 * 1024) }),
      'PACKAGE_ARCHIVE',
    ],
    [
      'whose descriptor alone is very long',
      () => zipSync({ 'appd.json': new Uint8Array(2 * 1024 * 1024) }),
      'PACKAGE_ARCHIVE',
    ],
    ['whose descriptor is no JSON', () => zipSync({ 'appd.json': text(0).slice(1) }), 'JSON_SYNTAX'],
    [
      'whose descriptor names a field twice',
      () => zipSync({ 'appd.json': new TextEncoder().encode('{"appDId":"a","appDId":"b"}') }),
      'JSON_DUPLICATE_KEY',
    ],
    ['without a name', () => zipSync({ 'appd.json': text({ ...appd(), appName: '' }) }), 'APPD_INVALID'],
    [
      'that asks for no memory',
      () =>
        zipSync({
          'appd.json': text({
            ...appd(),
            virtualComputeDescriptor: {
              virtualCpu: { numVirtualCpu: 1 },
              virtualMemory: { virtualMemSize: 0 },
            },
          }),
        }),
      'APPD_INVALID',
    ],
    [
      'whose image has no registry',
      () => zipSync({ 'appd.json': text({ ...appd(), swImageDescriptor: { swImage: 'alpine' } }) }),
      'APPD_INVALID',
    ],
  ];
  for (const [what, zip, code] of defects) {
    it(`${what} is refused`, () => {
      expect(codeOf(() => readArchive(zip()))).toBe(code);
    });
  }
});
