import { agentError } from '../error.ts';
import type { RuntimeConfig } from './runtime-config.ts';

type Seccomp = NonNullable<RuntimeConfig['linux']['seccomp']>;

const DENIES: ReadonlySet<string> = new Set([
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_KILL_PROCESS',
]);
/** Calls of the kernel's that no engine lets a container without further capabilities make. */
const NEVER: ReadonlySet<string> = new Set([
  'acct',
  'bpf',
  'clock_settime',
  'clock_settime64',
  'delete_module',
  'fanotify_init',
  'finit_module',
  'init_module',
  'ioperm',
  'iopl',
  'kexec_file_load',
  'kexec_load',
  'lookup_dcookie',
  'open_by_handle_at',
  'perf_event_open',
  'quotactl',
  'settimeofday',
  'swapoff',
  'swapon',
  'userfaultfd',
]);
/** Calls by which a program gives privileges up. */
const DROPS = [
  'capset',
  'prctl',
  'seccomp',
  'setgid',
  'setgroups',
  'setregid',
  'setresgid',
  'setresuid',
  'setreuid',
  'setuid',
];

/** Throws unless system calls are filtered about as engines filter them. */
export function checkSeccomp(seccomp: Seccomp | undefined): void {
  // Attack: no filter, or one that lets through what it doesn't name.
  if (seccomp === undefined || !DENIES.has(seccomp.defaultAction)) {
    throw refused('The configuration does not filter system calls.', '/linux/seccomp');
  }
  // Attack: another process answers the system calls of the approved code, and so decides what it does.
  if (seccomp.listenerPath !== undefined || seccomp.listenerMetadata !== undefined) {
    throw refused(
      'The configuration lets another process answer system calls.',
      '/linux/seccomp/listenerPath',
    );
  }
  const allowed = new Set<string>();
  const denied = new Set<string>();
  for (const [index, { names, action, errnoRet, args }] of seccomp.syscalls.entries()) {
    const pointer = `/linux/seccomp/syscalls/${index}`;
    if (action !== 'SCMP_ACT_ALLOW') {
      // Attack: as above (SCMP_ACT_NOTIFY, _TRACE), or errno 0: the call is left out and the program told that it succeeded.
      if (!DENIES.has(action) || (errnoRet ?? 1) < 1) {
        throw refused(`The configuration gives ${names[0] ?? 'system calls'} another answer.`, pointer);
      }
      for (const name of names) denied.add(name);
      continue;
    }
    const never = names.find((name) => NEVER.has(name));
    if (never !== undefined) throw refused(`The configuration allows the system call ${never}.`, pointer);
    if (args === undefined || args.length === 0) for (const name of names) allowed.add(name);
  }
  if ((seccomp.defaultErrnoRet ?? 1) < 1) {
    throw refused('The configuration has system calls pretend to succeed.', '/linux/seccomp/defaultErrnoRet');
  }
  // Attack: a program that can't give its privileges up, and goes on with them.
  const kept = DROPS.find((name) => !allowed.has(name) || denied.has(name));
  if (kept !== undefined) {
    throw refused(`The configuration forbids ${kept}.`, '/linux/seccomp/syscalls');
  }
}

function refused(message: string, pointer: string) {
  return agentError('INSTANCE_CONFIG_SECCOMP', message, { pointer });
}
