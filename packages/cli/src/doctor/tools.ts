import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Finding, finding, optionalFinding } from './finding.ts';

const execute = promisify(execFile);

const TOOLS: readonly (readonly [string, string])[] = [
  ['podman', 'Runs instances on a device: apt-get install podman'],
  ['runc', 'The OCI runtime behind the shim: apt-get install runc'],
  ['buildah', 'Builds images on a build host: apt-get install buildah'],
  ['curl', 'The runtime shim asks the agent with it: apt-get install curl'],
];

/** The programs that agents work with. */
export async function examineTools(): Promise<Finding[]> {
  const tools = TOOLS.map(async ([name, hint]): Promise<Finding> => {
    try {
      const { stdout } = await execute(name, ['--version'], { timeout: 10_000 });
      return optionalFinding(name, true, /\d+\.\d+[\w.+~-]*/.exec(stdout)?.[0] ?? 'there');
    } catch {
      return optionalFinding(name, false, 'not found', hint);
    }
  });
  return [finding('Node', true, process.versions.node), ...(await Promise.all(tools))];
}
