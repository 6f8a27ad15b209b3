#!/bin/sh
# The demo on processes of this machine, or with --lab on machines of their own.
set -eu
cd "$(dirname "$0")/.."
lab=''
for argument in "$@"; do
  shift
  if [ "$argument" = --lab ]; then lab=1; else set -- "$@" "$argument"; fi
done
if [ -n "$lab" ]; then
  sh scripts/setup.sh lab
  exec node lab/src/demo.ts "$@"
fi
sh scripts/setup.sh demo
exec node e2e/src/demo/main.ts "$@"
