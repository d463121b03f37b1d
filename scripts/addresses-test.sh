#!/usr/bin/env bash
# All nodes of a cluster are stopped and started with each other's addresses, then
# with new ones of which only one is told to each. No token is given again, and the
# cluster has to form each time. Real processes on loopback; Linux, because only
# there the whole of 127.0.0.0/8 is this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $(uname -s) == Linux ]] || { echo "addresses-test: needs Linux" >&2; exit 1; }

work=$(mktemp -d)
usher=$work/usher
port=$((20000 + RANDOM % 10000)) # the addresses are ours alone, but for who binds all
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT

CGO_ENABLED=0 go build -o "$usher" ./cmd/usher
mkdir "$work/docs"
printf 'region,amount\nnorth,1\nsouth,2\n' >"$work/docs/sales.csv"

# start NODE IP [FLAG...]
start() {
  local n=$1 ip=$2
  shift 2
  "$usher" agent --data-dir "$work/n$n" --name "n$n" --engine builtin --documents "$work/docs" \
    --bind "$ip:$port" --advertise "$ip" --door "$ip:$((port + 1))" --api off --socket "$work/n$n.sock" \
    "$@" >"$work/n$n.log" 2>&1 &
  pids[n]=$!
}

# on NODE COMMAND...
on() {
  local n=$1
  shift
  USHER_ADDRESS=unix:$work/n$n.sock "$usher" "$@"
}

alive() { on "$1" node list --output json 2>/dev/null | grep -o '"status": *"alive"' | wc -l; }

# formed NODE VALUE: all three see each other, and a write through NODE is acknowledged.
formed() {
  local n=$1 value=$2 began=$SECONDS
  until [[ $(alive 1) -eq 3 && $(alive 2) -eq 3 && $(alive 3) -eq 3 ]] &&
    on "$n" setting set session.idle_timeout "$value" >/dev/null 2>&1; do
    if ((SECONDS - began > 15)); then
      on "$n" status >&2 || true
      echo "addresses-test: not formed within 15 s" >&2
      tail -n 3 "$work"/n?.log >&2
      exit 1
    fi
    sleep 0.1
  done
  for n in 1 2 3; do
    [[ $(on "$n" setting get session.idle_timeout) == *"$value"* ]] || {
      echo "addresses-test: n$n does not have the value $value" >&2
      exit 1
    }
  done
}

# halt stops all in order, which writes their caches of the state.
halt() {
  for n in 1 2 3; do
    kill "${pids[n]}"
    wait "${pids[n]}"
  done
}

millis() { date +%s%3N; }

"$usher" init --data-dir "$work/n1" --name n1 --bind "127.1.0.1:$port" --advertise "127.1.0.1:$port" >"$work/init.txt"
grep -o 'ushj_[a-z0-9_]*' "$work/init.txt" >"$work/token"
start 1 127.1.0.1
start 2 127.1.0.2 --join "127.1.0.1:$port" --join-token-file "$work/token"
start 3 127.1.0.3 --join "127.1.0.1:$port" --join-token-file "$work/token"
began=$(millis)
formed 2 11m
echo "formed after $(($(millis) - began)) ms"

halt
start 1 127.1.0.2
start 2 127.1.0.3
start 3 127.1.0.1
began=$(millis)
formed 3 12m
echo "formed with swapped addresses after $(($(millis) - began)) ms"

halt
for n in 1 2 3; do start "$n" "127.2.0.$n" --join "127.2.0.2:$port"; done
began=$(millis)
formed 1 13m
echo "formed with new addresses after $(($(millis) - began)) ms"
halt
pids=()
echo "addresses-test: passed"
