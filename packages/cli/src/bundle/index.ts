export { installKallio } from './install.ts';
export { kallioDigest } from './sources.ts';
