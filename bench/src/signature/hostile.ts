import { Repository } from '@kallio/oci';
import { BUNDLE_MEDIA_TYPE, parseImagePolicy, verifyImage } from '@kallio/signature';

/*
 * Run as a process of its own, so that its memory is its own: HOST POLICY-FILE. Verifies `HOST/app:1`, which a hostile
 * somebody attached a great many things to, and prints code, time and peak memory as JSON.
 */
const [host = '', policyFile = ''] = process.argv.slice(2);
const { readFileSync } = await import('node:fs');
const policy = parseImagePolicy(JSON.parse(readFileSync(policyFile, 'utf8')));
const repository = new Repository({ registry: host, repository: 'app' });
// What the process costs before it has met anything hostile.
await repository.referrers(`sha256:${'0'.repeat(64)}`, BUNDLE_MEDIA_TYPE);
const started = performance.now();
const verdict = await verifyImage('1', repository, policy, new Date());
const ms = performance.now() - started;
const megabytes = process.resourceUsage().maxRSS / 1024;
process.stdout.write(JSON.stringify({ code: verdict.refusal?.code ?? 'ACCEPTED', ms, megabytes }));
