#!/usr/bin/env bash
# Measurements that are taken on demand; each compares with its goals and fails when
# one is missed. Servers listen on loopback. What is downloaded are the modules that etcd
# is built from, for control and failover and unless --no-etcd is given, and the proxies
# that door compares with.
#
#   ./scripts/bench.sh footprint [--idle 20s] [--restarts 5]
#   ./scripts/bench.sh control [--time 3s] [--rounds 3] [--no-etcd] [--into FILE]
#   ./scripts/bench.sh failover [--kills 40] [--moves 40] [--nodes 3,5] [--no-etcd] [--into FILE]
#   ./scripts/bench.sh door [--rounds 5] [--time 3s] [--work NAME,...] [--peers NAME,...] [--into FILE]
#   ./scripts/bench.sh state [--rows 1000000]
#   ./scripts/bench.sh waiters [--waiters 10000]
#   ./scripts/bench.sh pulse [--idle 30s]
set -euo pipefail
cd "$(dirname "$0")/.."

help() {
  cat <<'TEXT'
bench.sh: measure usher on this machine

Usage:
  bench.sh footprint [--idle DURATION] [--restarts N]
      what one idle agent costs: memory, processor, size of the binary, and the
      time from its start until it knows a leader
  bench.sh control [--time DURATION] [--rounds N] [--no-etcd] [--into FILE]
      writes and reads of the replicated state on three agents: how many a second,
      how fast, for how much processor time, and the same of etcd; six minutes.
      Linux
  bench.sh failover [--kills N] [--moves N] [--nodes N,N] [--no-etcd] [--into FILE]
      for how long no write is acknowledged when the leader is killed, stopped, cut
      off, or moved as planned, and the same of etcd; half an hour. Linux; cutting off
      needs root
  bench.sh door [--rounds N] [--time DURATION] [--warm-up DURATION] [--work NAME,...]
                [--peers NAME,...] [--connections N] [--sockets N] [--into FILE]
      what the front door costs beside HAProxy, nginx and Caddy: processor time of a
      request, memory of a WebSocket; half an hour. Linux, two cores
      work:  get-1k, get-64k, get-10m, post-1k, post-1m, chunked, new-connection,
             websocket, idle-websocket, idle-websocket-tls, tls-handshake,
             tls-keep-alive, http2, linear, forwarded
      peers: usher, haproxy, nginx, caddy; haproxy-default, nginx-default and
             caddy-default are those that nobody tuned

  bench.sh state [--rows N]
      for how long writes wait for a snapshot of a million rows, and how long and how
      much memory it takes to restore it
  bench.sh waiters [--waiters N]
      what ten thousand blocking queries and event streams take on one node, and how
      long writes take while all are woken. Linux; 20,200 file descriptors
  bench.sh pulse [--idle DURATION]
      processor time of the pulse between five idle servers, over TLS. Linux

  --markdown   print Markdown
  --into FILE  put it into its part of a page, too: docs/benchmarks.md
  --no-etcd    measure usher alone; goals that compare with etcd are skipped

etcd is built once, into ${XDG_CACHE_HOME:-~/.cache}/usher-bench, from the version that
scripts/etcdbench/go.mod names. Where it cannot be had it is skipped, aloud.
HAProxy and nginx are those on PATH; else Debian's packages are downloaded and unpacked
there, and nothing is installed. Caddy is built there from its module. A proxy that cannot
be had is skipped, aloud.
Everything else is written below TMPDIR, which has to be on a disk.
USHER_BENCH_BINARY names a binary to measure instead of one built from this tree.

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

# build_usher sets binary, and tree, what it was built from.
build_usher() {
  binary=${USHER_BENCH_BINARY:-} tree="the binary $(basename "${USHER_BENCH_BINARY:-none}")"
  if [ -z "$binary" ]; then
    tree=$(git describe --always --dirty 2>/dev/null) || tree='of a tree without git'
    binary=$work/usher
    build "$binary" ./cmd/usher
  fi
}

footprint() {
  build_usher
  build "$work/footprint" ./scripts/footprint
  "$work/footprint" --binary "$binary" "$@"
}

# state runs two processes, so that the second one's memory is that of a restore.
state() {
  local rows=1000000
  [ "${2:-}" ] && [ "$1" = --rows ] && rows=$2 && shift 2
  [ $# = 0 ] || usage_error "state takes --rows N"
  go test -c -o "$work/fsm.test" ./fsm
  for _ in make restore; do
    "$work/fsm.test" -test.run '^$' -test.bench StateFile -test.benchtime 1x -state-file "$work/state" -state-rows "$rows" >"$work/out" ||
      { cat "$work/out" && exit 1; }
    grep rows: "$work/out"
  done
}

pulse() {
  local idle=30s
  [ "${2:-}" ] && [ "$1" = --idle ] && idle=$2 && shift 2
  [ $# = 0 ] || usage_error "pulse takes --idle DURATION"
  [ "$(uname -s)" = Linux ] || { printf 'bench.sh: pulse needs Linux\n' >&2 && exit 1; }
  go test -c -o "$work/pulse.test" ./agent/consensus/pulse
  "$work/pulse.test" -test.run '^TestIdleCost$' -idle "$idle" >"$work/out" || { cat "$work/out" && exit 1; }
  grep 'idle nodes' "$work/out"
}
waiters() {
  local waiters=10000 most
  [ "${2:-}" ] && [ "$1" = --waiters ] && waiters=$2 && shift 2
  [ $# = 0 ] || usage_error "waiters takes --waiters N"
  [ "$(uname -s)" = Linux ] || { printf 'bench.sh: waiters needs Linux\n' >&2 && exit 1; }
  most=$(ulimit -Hn)
  if [ "$most" != unlimited ] && [ "$most" -lt $((2 * waiters + 400)) ]; then
    waiters=$(((most - 400) / 2))
    printf 'only %s file descriptors are allowed: %s waiters\n' "$most" "$waiters"
  fi
  go test -c -o "$work/admin.test" ./agent/admin
  "$work/admin.test" -test.v -test.run '^TestManyWaiters$' -waiters "$waiters" >"$work/out" || { cat "$work/out" && exit 1; }
  ! grep SKIPPED "$work/out" || exit 1
  grep 'TestManyWaiters/.*:' "$work/out"
}

control() { beside_etcd control "$@"; }
failover() { beside_etcd failover "$@"; }

# beside_etcd PROGRAM ARGUMENT...
beside_etcd() {
  local program=$1 arg with_etcd=yes arguments=()
  shift
  for arg in "$@"; do
    case $arg in
      -h | -help | --help) help && return ;;
      --no-etcd) with_etcd=no ;;
      *) arguments+=("$arg") ;;
    esac
  done
  [ "$(uname -s)" = Linux ] || { printf 'bench.sh: %s needs Linux\n' "$program" >&2 && exit 1; }
  build "$work/$program" "./scripts/$program"
  build_usher
  if [ "$with_etcd" = yes ] && build_etcd; then
    arguments+=(--etcd "$etcd" --etcd-client "$work/etcdbench")
  elif [ "$with_etcd" = yes ]; then
    printf 'SKIPPED: etcd could not be built; see above why\n' >&2
  fi
  "$work/$program" --binary "$binary" --tree "$tree" "${arguments[@]}"
}

# build_etcd sets etcd, and builds its client. Its module is its own: usher does not
# depend on it. The cache is kept by version.
build_etcd() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/usher-bench version
  version=$(cd scripts/etcdbench && go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3) || return 1
  etcd=$cache/etcd-$version-$(go env GOVERSION)
  if [ ! -x "$etcd" ]; then
    mkdir -p "$cache" || return 1
    (cd scripts/etcdbench && build "$etcd.new" go.etcd.io/etcd/server/v3) || return 1
    mv "$etcd.new" "$etcd" || return 1 # whole, or not there
  fi
  (cd scripts/etcdbench && build "$work/etcdbench" .)
}

# door finds the proxies that are to be compared with, and measures.
door() {
  local arg previous='' peers=usher,haproxy,nginx,caddy arguments=() libraries=()
  for arg in "$@"; do
    case $arg in
      -h | -help | --help) help && return ;;
      --peers=*) peers=${arg#*=} ;;
    esac
    [ "$previous" != --peers ] || peers=$arg
    previous=$arg
  done
  [ "$(uname -s)" = Linux ] || { printf 'bench.sh: door needs Linux\n' >&2 && exit 1; }
  ulimit -n "$(ulimit -Hn)"
  build "$work/door" ./scripts/door
  build_usher
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/usher-bench
  mkdir -p "$cache"
  if [[ $peers = *haproxy* ]] && find_debian haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0; then
    arguments+=(--haproxy "$found")
  fi
  if [[ $peers = *nginx* ]] && find_debian nginx libpcre2-8-0; then
    arguments+=(--nginx "$found")
  fi
  if [[ $peers = *caddy* ]] && find_caddy; then
    arguments+=(--caddy "$found")
  fi
  [ ${#libraries[@]} = 0 ] || arguments+=(--libraries "$(IFS=: && printf '%s' "${libraries[*]}")")
  "$work/door" --binary "$binary" --tree "$tree" "${arguments[@]}" "$@"
}

# find_debian PROGRAM LIBRARY...: sets found to the program on PATH, else to that of
# Debian's package of the same name, unpacked beside those libraries that are not
# installed, where libraries then leads.
find_debian() {
  local program=$1 own=$cache/$1 package missing=("$1") new
  found=$(PATH=$PATH:/usr/sbin command -v "$program") && return
  if [ ! -x "$own/usr/sbin/$program" ]; then
    for package in "${@:2}"; do
      dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    new=$(mktemp -d "$cache/$program.XXXXXX")
    if ! unpack_debian "$new" "${missing[@]}"; then
      rm -rf "$new"
      printf 'SKIPPED: %s is not on PATH, and its package could not be had; see above why\n' "$program" >&2
      return 1
    fi
    mv "$new" "$own" # whole, or not there
  fi
  found=$own/usr/sbin/$program
  for package in "$own"/usr/lib/*-linux-*; do
    [ ! -d "$package" ] || libraries+=("$package")
  done
}

# unpack_debian DIRECTORY PACKAGE...
unpack_debian() {
  local into=$1 deb
  shift
  (cd "$into" && apt-get -q download "$@") >&2 || return 1
  for deb in "$into"/*.deb; do
    dpkg-deb -x "$deb" "$into" || return 1
    rm "$deb"
  done
}

caddy_version=v2.11.9

find_caddy() {
  local own
  own=$cache/caddy-$caddy_version-$(go env GOVERSION)
  found=$own/caddy
  [ ! -x "$found" ] || return 0
  printf 'building Caddy %s, once\n' "$caddy_version" >&2
  if ! CGO_ENABLED=0 GOBIN="$own.new" nice -n 19 go install -trimpath -ldflags='-s -w' "github.com/caddyserver/caddy/v2/cmd/caddy@$caddy_version"; then
    printf 'SKIPPED: Caddy could not be built; see above why\n' >&2
    return 1
  fi
  mv "$own.new" "$own"
}

main() {
  case ${1:-} in
    -h | --help | help) help && return ;;
    footprint | control | failover | door | state | waiters | pulse) ;;
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
