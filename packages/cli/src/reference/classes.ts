import type { PathClass } from '@kallio/appraisal';

/**
 * The classes that reference values of files are sorted into, by path: a file of one class does not pass for one of
 * another. Both names of merged folders (/bin and /usr/bin) are in one class, as packages use either.
 */
export const PATH_CLASSES: readonly Pick<PathClass, 'name' | 'paths' | 'hostOnly'>[] = [
  { name: 'kernel modules', paths: ['/lib/modules/', '/usr/lib/modules/'], hostOnly: true },
  { name: 'firmware', paths: ['/lib/firmware/', '/usr/lib/firmware/'], hostOnly: true },
  { name: 'programs', paths: ['/bin/', '/sbin/', '/usr/bin/', '/usr/sbin/', '/usr/libexec/'] },
  {
    name: 'libraries',
    paths: [
      '/lib/',
      '/lib32/',
      '/lib64/',
      '/libx32/',
      '/usr/lib/',
      '/usr/lib32/',
      '/usr/lib64/',
      '/usr/libx32/',
    ],
  },
  { name: 'everything else' },
];
