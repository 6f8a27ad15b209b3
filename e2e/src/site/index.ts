export { must } from './process.ts';
export { Site } from './site.ts';
