#!/usr/bin/env bash
# Shows that the laboratory notices bugs: builds usher with one seeded bug at a time
# (scripts/mutants/NAME.patch), breaks the cluster with the fault that brings that bug out,
# and expects the verdict that is about it to fail. The same run without the bug has to
# pass. Root and Linux; a minute for each bug.
#
#   ./scripts/lab-bugs.sh                                    all
#   ./scripts/lab-bugs.sh consensus-log-not-synced           these
#
# Exit codes: 0 each was noticed, or SKIPPED; 1 one was not; 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."

# bug | verdict that has to fail | run of the laboratory
rows() {
  cat <<'TABLE'
consensus-log-not-synced|deaths|smoke --seed 3 --steps 4 --faults power-cut-all
consensus-acknowledged-before-commit|run|smoke --seed 5 --steps 6 --faults isolate,kill
consensus-read-without-a-round|linearizability|nightly --runs 1 --nodes 3 --seed 4 --steps 6 --sessions 60 --faults pause
fsm-reads-a-clock|occurrences|smoke --seed 6 --steps 8 --faults kill
admin-stale-read-not-labelled|stale reads|smoke --seed 8 --steps 3 --faults isolate
door-silence-unnoticed|moves|nightly --runs 1 --nodes 3 --seed 9 --steps 4 --sessions 200 --faults black-hole,pause
TABLE
}

die() { printf 'lab-bugs.sh: %s\nnext: see the head of scripts/lab-bugs.sh\n' "$1" >&2; exit 2; }

# build makes a binary of a copy of the tree, with a patch or without.
build() {
  local patch=$1 out=$2
  rm -rf "$work/tree" && mkdir "$work/tree"
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/tree"
  if [ -n "$patch" ]; then (cd "$work/tree" && git apply "scripts/mutants/$patch.patch"); fi
  (cd "$work/tree" && CGO_ENABLED=0 go build -trimpath -tags lab -o "$out" ./cmd/usher)
}

# run brings a binary into the laboratory; its words go to $work/words.
run() {
  local binary=$1
  shift
  USHER_LAB_BINARY=$binary ./scripts/lab.sh "$@" --out "$work/out" >"$work/words" 2>&1
}

try() {
  local bug=$1 verdict=$2 args
  read -ra args <<<"$3"
  if ! run "$work/sound" "${args[@]}"; then
    printf '%-40s %-16s FAILS ANYWAY\n' "$bug" "$verdict"
    cat "$work/words"
    return 1
  fi
  if grep -q '^SKIPPED' "$work/words"; then
    cat "$work/words"
    exit 0
  fi
  build "$bug" "$work/broken"
  if run "$work/broken" "${args[@]}"; then
    printf '%-40s %-16s SURVIVED\n' "$bug" "$verdict"
    return 1
  fi
  if ! grep -q "^  $verdict: " "$work/words"; then
    printf '%-40s %-16s SURVIVED, and something else failed\n' "$bug" "$verdict"
    cat "$work/words"
    return 1
  fi
  printf '%-40s %-16s noticed\n' "$bug" "$verdict"
}

main() {
  case ${1:-} in -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0" && return ;; esac
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  local bug verdict args failed=0 tried=0
  for name in "$@"; do
    rows | grep -q "^$name|" || die "there is no row of $name"
  done
  build '' "$work/sound"
  while IFS='|' read -r bug verdict args; do
    if [ $# -gt 0 ] && [[ " $* " != *" $bug "* ]]; then continue; fi
    tried=$((tried + 1))
    try "$bug" "$verdict" "$args" || failed=$((failed + 1))
  done < <(rows)
  printf '%d of %d bugs noticed\n' $((tried - failed)) "$tried"
  [ "$failed" -eq 0 ]
}

main "$@"
