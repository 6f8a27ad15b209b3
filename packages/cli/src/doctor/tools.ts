import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Finding } from './finding.ts';

const execute = promisify(execFile);

const TOOLS: readonly (readonly [string, readonly string[], string])[] = [
  ['podman', ['--version'], 'runs instances on a device: apt-get install podman'],
  ['runc', ['--version'], 'the OCI runtime behind the shim: apt-get install runc'],
  ['buildah', ['--version'], 'builds images on a build host: apt-get install buildah'],
  ['curl', ['--version'], 'the runtime shim asks the agent with it: apt-get install curl'],
];

/** The programs that agents work with. */
export async function examineTools(): Promise<Finding[]> {
  const tools = TOOLS.map(async ([name, args, hint]): Promise<Finding> => {
    try {
      const { stdout } = await execute(name, [...args], { timeout: 10_000 });
      return { what: name, ok: true, detail: (stdout.split('\n')[0] ?? '').slice(0, 60) };
    } catch {
      return { what: name, ok: false, detail: 'not found', hint };
    }
  });
  const node: Finding = { what: 'Node', ok: true, detail: process.version };
  return [node, ...(await Promise.all(tools))];
}
