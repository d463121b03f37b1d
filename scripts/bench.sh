#!/usr/bin/env bash
# Measurements that are taken on demand; each compares with its goals and fails when
# one is missed. Nothing is downloaded, servers listen on loopback.
#
#   ./scripts/bench.sh footprint [--idle 20s] [--restarts 5]
set -euo pipefail
cd "$(dirname "$0")/.."

help() {
  cat <<'TEXT'
bench.sh: measure usher on this machine

Usage:
  bench.sh footprint [--idle DURATION] [--restarts N]
      what one idle agent costs: memory, processor, size of the binary, and the
      time from its start until it knows a leader

The figures mean something on an otherwise idle machine only.
Exit codes: 0 all goals reached, 1 one missed or the run failed, 2 usage.
TEXT
}

usage_error() {
  printf 'bench.sh: %s\nnext: see bench.sh --help\n' "$1" >&2
  exit 2
}

# build TARGET PACKAGE: as releases are built.
build() { CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$1" "$2"; }

footprint() {
  build "$work/usher" ./cmd/usher
  build "$work/footprint" ./scripts/footprint
  "$work/footprint" --binary "$work/usher" "$@"
}

main() {
  case ${1:-} in
    -h | --help | help) help && return ;;
    footprint) ;;
    '') usage_error "what is to be measured?" ;;
    *) usage_error "there is no measurement called $1" ;;
  esac
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  "$@"
}

main "$@"
