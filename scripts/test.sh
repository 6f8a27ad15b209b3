#!/bin/sh
# Runs every test: the scenarios of e2e, one file after the other, and beside them all others. Each waits a good deal for
# processes, so neither keeps a processor busy for itself. With arguments: vitest with these.
set -eu

[ $# -eq 0 ] || exec vitest run "$@"

log=$(mktemp)
vitest run --project e2e >"$log" 2>&1 &
scenarios=$!
trap 'kill "$scenarios" 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

ended=0
vitest run --project '!e2e' || ended=$?
wait "$scenarios" || ended=$?
cat "$log"
exit "$ended"
