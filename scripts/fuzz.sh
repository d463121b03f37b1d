#!/usr/bin/env bash
# Fuzzing: our readers of HTTP/1.x against net/http's (whatever we accept, net/http must read
# the same), or all parsers of the project.
#
#   ./scripts/fuzz.sh                              requests, chunks and answers: a minute together
#   ./scripts/fuzz.sh --for 8h                     for as long as that together
#   ./scripts/fuzz.sh --all --for 2h               every target that there is
#   ./scripts/fuzz.sh --for 10m agent/http1 FuzzRequest
#
# An input that fails is kept below the package's testdata/fuzz, where the tests find it from
# then on: commit it with what mends it. What was learned of interesting inputs stays in
# Go's cache (go clean -fuzzcache). Exit codes: 0 nothing was found; 1 something was; 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'fuzz.sh: %s\nnext: see the head of scripts/fuzz.sh\n' "$1" >&2; exit 2; }

# seconds of 90, 90s, 15m, 2h
seconds() {
  local n=${1%[smh]}
  [[ $n =~ ^[0-9]+$ ]] && [ "$n" -gt 0 ] || die "--for $1 is no time such as 90s, 15m or 8h"
  case $1 in *h) printf '%d' $((n * 3600)) ;; *m) printf '%d' $((n * 60)) ;; *) printf '%d' "$n" ;; esac
}

# differential are the targets that compare with net/http.
differential() {
  cat <<'TARGETS'
agent/http1 FuzzRequest
agent/http1 FuzzChunked
agent/http1 FuzzResponse
agent/door/upstream FuzzAnswer
TARGETS
}

every() {
  grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' agent cmd fsm transport scripts |
    sed -E 's#/[^/]+:func # #' | sort
}

lasts=60 targets=differential
while [ $# -gt 0 ]; do
  case $1 in
    --for) [ $# -ge 2 ] || die "--for needs a value"; lasts=$(seconds "$2"); shift 2 ;;
    --all) targets=every; shift ;;
    -*) die "there is no $1" ;;
    *)
      [ $# -eq 2 ] || die "a target is a package's directory and a function: agent/http1 FuzzRequest"
      pair="$1 $2"
      every | grep -qxF "$pair" || die "there is no target $pair"
      targets=one; shift 2 ;;
  esac
done
one() { printf '%s\n' "$pair"; }

count=$($targets | wc -l)
each=$((lasts / count))
[ "$each" -ge 1 ] || each=1
found=0
while read -r dir name; do
  printf '%s %s: %d s\n' "$dir" "$name" "$each"
  if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "${each}s" "./$dir" >"${TMPDIR:-/tmp}/fuzz.$$" 2>&1; then
    cat "${TMPDIR:-/tmp}/fuzz.$$"
    found=1
  fi
  tail -n 3 "${TMPDIR:-/tmp}/fuzz.$$" | grep -a 'fuzz: elapsed' || true
done < <($targets)
rm -f "${TMPDIR:-/tmp}/fuzz.$$"
exit $found
