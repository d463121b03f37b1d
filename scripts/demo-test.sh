#!/usr/bin/env bash
# Starts the demo and shows, with real processes and kill -9, that it does what the
# README promises. Needs Go and Linux. About two minutes; the size can be chosen:
#
#   ./scripts/demo-test.sh                        100 users, 1,000 requests each
#   ./scripts/demo-test.sh --users 20 --requests 50
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$dir/usher" ./cmd/usher
CGO_ENABLED=0 go build -o "$dir/demotest" ./scripts/demotest
"$dir/demotest" --usher "$dir/usher" "$@"
