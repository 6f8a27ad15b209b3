import { overHttps } from './src/appraisal/https.ts';
for (const r of await overHttps()) console.log(r.figure, r.unit);
