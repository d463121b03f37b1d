#!/usr/bin/env bash
# Shows that abuse of the door (HTTP/2's floods and bombs, slow clients) neither raises the
# 99th percentile of honest users above twice its value, nor the agent's memory by more than
# 200 MiB. What is measured, and what is fair, is written in docs/benchmarks.md.
#
#   ./scripts/abuse.sh                             all; half an hour on two cores
#   ./scripts/abuse.sh --only 'slow-*,ping'        some; names are separated by commas
#   ./scripts/abuse.sh --for 5s --count 100        shorter and weaker
#   ./scripts/abuse.sh --output json
#   ./scripts/abuse.sh --into docs/benchmarks.md
#
# Needs Go and Linux. USHER_ABUSE_BINARY names a binary to abuse instead of one built from
# this tree. Exit codes: 0 all limits kept, 1 one broken or the run failed, 2 usage. The
# figures mean something on an otherwise idle machine only.
set -euo pipefail
cd "$(dirname "$0")/.."
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
binary=${USHER_ABUSE_BINARY:-} tree="the binary $(basename "${USHER_ABUSE_BINARY:-none}")"
if [ -z "$binary" ]; then
  tree=$(git describe --always --dirty 2>/dev/null) || tree='of a tree without git'
  binary=$work/usher
  CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$binary" ./cmd/usher
fi
CGO_ENABLED=0 go build -trimpath -o "$work/abuse" ./scripts/abuse
"$work/abuse" --binary "$binary" --tree "$tree" "$@"
