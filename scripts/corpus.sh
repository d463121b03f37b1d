#!/usr/bin/env bash
# Sends the corpus of requests (agent/door/testdata/corpus) to a door: raw, behind HAProxy, and behind
# nginx. Raw, each case has to become what the corpus says; behind a proxy the engine has to
# see exactly the requests that the door has logged. HAProxy and nginx are those on PATH, or
# those that scripts/bench.sh door has unpacked; where there is none that part is skipped aloud.
#
#   ./scripts/corpus.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || { printf 'corpus.sh: it takes no arguments\nnext: see the head of scripts/corpus.sh\n' >&2; exit 2; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/usher-bench
libraries=''
for name in haproxy nginx; do
  if ! program=$(PATH=$PATH:/usr/sbin command -v "$name"); then
    program=$cache/$name/usr/sbin/$name
    libraries=$libraries${libraries:+:}$(find "$cache/$name" -type d -path '*/lib/*-linux-gnu' 2>/dev/null | paste -sd: -)
  fi
  if [ -x "$program" ]; then
    export "USHER_CORPUS_$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')=$program"
  else
    printf 'SKIPPED: %s is not on PATH; apt-get install %s\n' "$name" "$name"
  fi
done
LD_LIBRARY_PATH=$libraries go test -count=1 -v -run '^TestCorpus' ./agent/door |
  grep -aE '^ *(--- |ok|FAIL|corpus_)|cases:' || exit 1
