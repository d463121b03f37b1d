#!/usr/bin/env bash
# Simulations in fake time, by seeds: the replicated state alone (raft), or whole clusters
# (cluster). What is broken and what is checked stands in agent/clustertest/sim/doc.go.
#
#   ./scripts/sim.sh                                both: 10,000 seeds of raft, 300 of cluster
#   ./scripts/sim.sh raft --seeds 1000 --from 5000  seeds 5000 to 5999
#   ./scripts/sim.sh cluster --seeds 20 --for 30s   with 30 s of faults each
#   ./scripts/sim.sh raft --seed 4711               one seed, with what happened; --repeat 20
#                                                   for a failure that needs a race, --log for
#                                                   the nodes' log lines, too
#
# A seed has 10 minutes of faults (raft) or 2 (cluster) in the clock of the cluster unless
# --for says else. Progress is printed; failing seeds are printed with how to replay them,
# and their output is kept below out/sim. Exit code 1 if any seed failed. --jobs says how
# many run at a time, one for each processor if nothing is said.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'sim.sh: %s\nnext: see the head of scripts/sim.sh\n' "$1" >&2; exit 2; }

what=both seeds='' from=1 lasts='' jobs='' seed='' repeat=1 log=false
case ${1:-} in raft | cluster) what=$1; shift ;; esac
while [ $# -gt 0 ]; do
  case $1 in
    --log) log=true; shift; continue ;;
    --seeds | --from | --for | --jobs | --seed | --repeat) [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) die "there is no $1" ;;
  esac
  case $1 in
    --seeds) seeds=$2 ;;
    --from) from=$2 ;;
    --for) lasts=$2 ;;
    --jobs) jobs=$2 ;;
    --seed) seed=$2 ;;
    --repeat) repeat=$2 ;;
  esac
  shift 2
done
for n in "$from" "${seeds:-1}" "${jobs:-1}" "${seed:-1}" "$repeat"; do
  [[ $n =~ ^[1-9][0-9]*$ ]] || die "$n is no number from 1"
done
if [ "$what" = both ] && [ -n "$seed$seeds" ]; then die "say raft or cluster"; fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export CGO_ENABLED=0
go test -c -o "$tmp/sim" ./agent/clustertest/sim
jobs=${jobs:-$(getconf _NPROCESSORS_ONLN)}
if [ -d /dev/shm ] && [ -w /dev/shm ]; then # agents sync their files; nobody cuts the power here
  TMPDIR=$(mktemp -d /dev/shm/usher-sim.XXXXXX)
  export TMPDIR
  trap 'rm -rf "$tmp" "$TMPDIR"' EXIT
fi

# run KIND FROM COUNT TIMEOUT [FLAG...]: the seeds in one process.
run() {
  local test=TestRaft
  if [ "$1" = cluster ]; then test=TestCluster; fi
  "$tmp/sim" -test.run "^$test\$" -test.v -test.parallel 1 -test.timeout "$4" -sim.from "$2" -sim.seeds "$3" -sim.for "$time" "${@:5}"
}

# chunk KIND FROM COUNT: the seeds in one process; those that it does not speak of, because
# it ended early, once more, each in its own. The verdicts are a line each.
# shellcheck disable=SC2317 # xargs calls it
chunk() {
  local kind=$1 first=$2 count=$3 out s
  out=$tmp/$kind-$first.out
  run "$kind" "$first" "$count" "$((count * 5))m" >"$out" 2>&1 || true
  for ((s = first; s < first + count; s++)); do
    if grep -q -e "--- PASS: Test[A-Za-z]*/seed=$s " "$out"; then
      printf 'pass %s\n' "$s"
      continue
    fi
    mkdir -p out/sim
    if grep -q -e "--- FAIL: Test[A-Za-z]*/seed=$s " "$out" || [ "$count" = 1 ]; then
      cp "$out" "out/sim/$kind-$s.txt"
      printf 'fail %s\n' "$s"
    elif run "$kind" "$s" 1 5m >"out/sim/$kind-$s.txt" 2>&1; then
      rm "out/sim/$kind-$s.txt"
      printf 'pass %s\n' "$s"
    else
      printf 'fail %s\n' "$s"
    fi
  done
  rm -f "$out"
}

# many KIND COUNT SIZE: all seeds, SIZE in a process, with progress.
many() {
  local kind=$1 count=$2 size=$3 s n done=0 failed=() began=$SECONDS verdict told=$SECONDS
  while read -r verdict s; do
    done=$((done + 1))
    if [ "$verdict" = fail ]; then
      failed+=("$s")
      printf '%s: seed %s FAILED: out/sim/%s-%s.txt; replay: ./scripts/sim.sh %s --seed %s --for %s\n' "$kind" "$s" "$kind" "$s" "$kind" "$s" "$time"
    fi
    if [ $((SECONDS - told)) -ge 10 ] || [ "$done" = "$count" ]; then
      printf '%s: %s of %s seeds, %s failed, %s s\n' "$kind" "$done" "$count" "${#failed[@]}" "$((SECONDS - began))"
      told=$SECONDS
    fi
  done < <(
    for ((s = from; s < from + count; s += size)); do
      n=$((from + count - s))
      printf '%s %s %s\n' "$kind" "$s" "$((n < size ? n : size))"
    done | xargs -P "$jobs" -L 1 bash -c 'chunk "$@"' chunk
  )
  if [ "$done" != "$count" ]; then
    printf '%s: only %s of %s seeds were run\n' "$kind" "$done" "$count"
    return 1
  fi
  [ "${#failed[@]}" = 0 ]
}

export tmp time
export -f run chunk
time=${lasts:-10m}
if [ "$what" = cluster ]; then time=${lasts:-2m}; fi
if [ -n "$seed" ]; then
  run "$what" "$seed" 1 30m -sim.seed "$seed" -sim.repeat "$repeat" "-sim.log=$log"
  exit
fi
ok=0
case $what in
  raft) many raft "${seeds:-10000}" 4 || ok=1 ;;
  cluster) many cluster "${seeds:-300}" 2 || ok=1 ;;
  both)
    many raft 10000 4 || ok=1
    time=${lasts:-2m}
    many cluster 300 2 || ok=1
    ;;
esac
exit "$ok"
