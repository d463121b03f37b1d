#!/usr/bin/env bash
# Breaks usher on purpose, one bug at a time, and shows that the tests notice. What there
# is, is written in docs/mutants.md.
#
#   ./scripts/mutants.sh                      all; some ten minutes on two cores
#   ./scripts/mutants.sh --only 'door-*'      some; names are separated by commas
#   ./scripts/mutants.sh --check              do the patches still apply? seconds
#   ./scripts/mutants.sh --list
#   ./scripts/mutants.sh --into docs/mutants.md
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./scripts/mutants "$@"
