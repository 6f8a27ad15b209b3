import { spawn } from 'node:child_process';

/** Waits until the process has ended; what is still there then is taken down by its pid files. */
const GUARD = `while kill -0 "$2" 2>/dev/null; do sleep 1; done
[ -d "$1" ] || exit 0
for file in "$1"/*.pid "$1"/*/*.pid; do
  [ -e "$file" ] || continue
  read -r pid started <"$file" || true
  # The number alone could be another process's by now.
  [ "$(cut -d ' ' -f 22 "/proc/$pid/stat" 2>/dev/null)" = "$started" ] && kill -9 "$pid"
done
rm -rf "$1"`;

/**
 * Has the processes of a folder ended, and the folder removed, when this process ends without having done so itself,
 * also by SIGKILL: by a shell that waits for it.
 */
export function guard(dir: string): void {
  const child = spawn('sh', ['-c', GUARD, 'guard', dir, String(process.pid)], {
    detached: true,
    stdio: 'ignore',
  });
  child.unref();
}
