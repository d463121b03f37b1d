#!/usr/bin/env bash
# Build, check and test everything. Needs Go and git; what else a check wants it
# skips aloud. About five minutes on two cores.
#
#   ./scripts/test.sh          everything
#   ./scripts/test.sh quick    without the race detector and without the other targets
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
mode=${1:-full}

step() { printf '\n== %s\n' "$*"; }
skip() { printf 'SKIPPED: %s\n' "$*"; }

step "format"
unformatted=$(git ls-files -z '*.go' | xargs -0 -r gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'gofmt would change:\n%s\n' "$unformatted"
  exit 1
fi

step "modules"
go mod tidy -diff
go mod verify >/dev/null

step "vet"
go vet ./...

if [ "$mode" = full ]; then
  step "build for the four targets"
  for target in linux/amd64 linux/arm64 darwin/arm64 windows/amd64; do
    printf '%s\n' "$target"
    GOOS=${target%/*} GOARCH=${target#*/} go build -o /dev/null ./cmd/usher
  done
  GOOS=windows go vet ./...
fi

step "lint"
if command -v golangci-lint >/dev/null; then
  golangci-lint run ./...
else
  skip "golangci-lint is not installed (https://golangci-lint.run); vet and the tests below ran"
fi

step "scripts"
./scripts/check.sh "$mode"

step "tests"
race=
if [ "$mode" = full ]; then
  if command -v cc >/dev/null || command -v gcc >/dev/null; then
    race=-race
    export CGO_ENABLED=1
  else
    skip "the race detector needs a C compiler"
  fi
fi
go test $race -timeout 8m ./...
