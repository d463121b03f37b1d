#!/usr/bin/env bash
# The fault laboratory: real agents in network namespaces, clients that work on them, and
# faults of every sort; then a check of every operation against what usher promises. Needs root
# and Linux, and leaves nothing behind.
#
#   ./scripts/lab.sh smoke
#   ./scripts/lab.sh nightly --into docs/reliability.md
#   ./scripts/lab.sh smoke --seed 7 --faults power-cut,kill
#   ./scripts/lab.sh nights --into docs/reliability.md
#   ./scripts/lab.sh detection --repeats 10 --into docs/reliability.md
#   ./scripts/lab.sh sessions --into docs/reliability.md
set -euo pipefail
cd "$(dirname "$0")/.."

help() {
  cat <<'TEXT'
lab.sh: break real agents and check that they keep their promises

Usage:
  lab.sh [SIZE] [flags]
  lab.sh nights [flags]
  lab.sh detection [--repeats N] [--stretch DURATION] [--timeouts D,D] [--parts A,B] [flags]
  lab.sh sessions [--sessions N] [--every DURATION] [--stretch DURATION] [--losses A,B] [flags]

SIZE is smoke (one cluster, under a minute), nightly (under 40 minutes) or release (hours;
goes on where it was interrupted).

  --seed N      seed of the first run; with it there is one run unless --runs says more
  --runs N      clusters, one after the other
  --faults A,B  only these faults
  --nodes N     nodes of each cluster, 3 to 9
  --steps N     steps of each run
  --sessions N  sessions at the doors
  --keep        keep logs and history of runs that pass, too
  --fresh       do not go on where a series of the size release was interrupted
  --markdown    print the report as Markdown
  --into FILE   put it into its part of a page, too: docs/reliability.md
  --out DIR     where logs and history are kept (default out/lab)
  --list        list the faults and the sizes
  --sweep       remove what killed runs left behind

nights goes through docs/runbook.md instead: disks lost, a disk full, a clock wrong, a wrong
change, each with the commands of its page, and checks that what was acknowledged before is
there after, or that a command had said it would not be: under five minutes. Beside --seed,
--keep, --markdown, --into and --out:

  --nights A,B  only these nights
  --list        list the nights

A night that fails leaves logs, what commands printed, and the raft directories in
out/lab/nights-SEED/NIGHT.

detection measures the write outage when the leader is killed, hangs, falls silent, or its disk
hangs, for several election timeouts, with the detection of crashes and without; how often slow
agents are taken for lost; and leaders that crash again and again. About half an hour.

  --repeats N   losses of each kind on each cluster (default 3)
  --stretch D   for how long false alarms are waited for, and leaders crash (default 1m)
  --timeouts    election timeouts (default 250ms,500ms,1s)
  --parts A,B   only these of alarms,losses,loops

sessions measures what 2,000 sessions notice when one node of three is killed, falls silent or is
stopped, each on a cluster of its own, and when two of three are killed. A quarter of an hour.

  --sessions N  sessions at the doors (default 2000), every fifth with a WebSocket
  --every D     between two requests of a session, and two messages (default 1s)
  --stretch D   for how long there is no quorum (default 10m)
  --losses A,B  only these of killed,black-holed,stopped,no-quorum

Both take --seed, --keep, --markdown, --into and --out as well. They compare with goals and fail
when one is missed; the figures mean something on an otherwise idle machine only.

Each run that fails leaves its logs, its history and the verdicts in out/lab/SEED, and its
line says how to repeat it. Work goes on below TMPDIR, which has to be on a disk.
USHER_LAB_BINARY names a binary, built with the tag lab, to break instead of one built from
this tree.

Exit codes: 0 all runs passed, or SKIPPED where root, Linux or a tool is missing; 1 one failed;
2 usage.
TEXT
}

build() { CGO_ENABLED=0 go build -trimpath "$@"; }

main() {
  case ${1:-} in
    -h | --help | help) help && return ;;
  esac
  [ "$(uname -s)" = Linux ] || { printf 'SKIPPED: the laboratory needs Linux\n' && return; }
  work=$(mktemp -d)
  trap clean EXIT
  build -o "$work/lab" ./scripts/lab
  case " $* " in
    *" --list "* | *" --sweep "*) "$work/lab" "$@" && return ;;
  esac
  [ "$(id -u)" -eq 0 ] || { printf 'SKIPPED: the laboratory needs root\n' && return; }
  local binary=${USHER_LAB_BINARY:-} tree
  tree="the binary $(basename "${USHER_LAB_BINARY:-none}")"
  if [ -z "$binary" ]; then
    binary=$work/usher
    tree=$(git describe --always --dirty 2>/dev/null) || tree='a tree without git'
    build -tags lab -o "$binary" ./cmd/usher
  fi
  local size=smoke
  case ${1:-} in
    '' | -*) ;;
    *) size=$1 && shift ;;
  esac
  # A signal is the program's: it ends what it began, and then we end.
  trap ':' INT TERM HUP
  "$work/lab" "$size" --binary "$binary" --tree "$tree" "$@" &
  lab=$!
  local code=0
  wait "$lab" || code=$?
  while kill -0 "$lab" 2>/dev/null; do
    kill -TERM "$lab" 2>/dev/null || true
    code=0
    wait "$lab" || code=$?
  done
  return "$code"
}

# clean removes what even a panic or kill -9 of the program leaves behind.
clean() {
  if [ "$(id -u)" -eq 0 ] && [ -x "$work/lab" ]; then "$work/lab" --sweep || true; fi
  rm -rf "$work"
}

main "$@"
