#!/usr/bin/env bash
# A cluster of three in network namespaces on this one machine, made by the same
# install.sh and provision.sh as a real one: gather, kill the central node, go on
# writing, bring it back, provision again, stop. Needs root, Linux and iproute2;
# leaves nothing behind. Under a minute.
#
#   ./scripts/netns.sh           with a binary built from this checkout
#   ./scripts/netns.sh BINARY    with this one
set -euo pipefail
cd "$(dirname "$0")/.."

# Only inside the namespaces, so that it cannot meet an address of this machine.
net=10.47.47
nodes=(1 2 3)

step() { printf '== %s\n' "$*"; }
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
skip() {
  printf 'SKIPPED: needs root and network namespaces (%s)\n' "$1"
  exit 0
}

check_here() {
  [ "$(uname -s)" = Linux ] || skip "this is $(uname -s)"
  [ "$(id -u)" -eq 0 ] || skip "not root"
  local tool
  for tool in ip setpriv setsid; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  ip netns add "$tag-probe" 2>/dev/null || skip "the kernel or the container allows none"
  probe_links || {
    ip netns delete "$tag-probe"
    skip "the kernel knows no bridge or no veth"
  }
  ip netns delete "$tag-probe"
}

probe_links() {
  ip -n "$tag-probe" link add bridge type bridge 2>/dev/null && ip -n "$tag-probe" link add uplink type veth peer name port1 2>/dev/null
}

# root N is where node N has everything, and ns N its network.
root() { printf '%s/n%s' "$dir" "$1"; }
ns() { printf '%s-n%s' "$tag" "$1"; }
usher() { "$(root "$1")/usr/bin/usher" --address "unix:$(root "$1")/run/usher/usher.sock" "${@:2}"; }
provision() { ip netns exec "$(ns "$1")" scripts/provision.sh --root "$(root "$1")" --user nobody "${@:2}"; }

# agent_pid N prints the agent's process while it runs and is ours: its program lies
# in our own directory.
agent_pid() {
  local pid
  pid=$(cat "$(root "$1")/run/usher/usher.pid" 2>/dev/null) || return 1
  case $(readlink "/proc/$pid/exe" 2>/dev/null) in
    "$(root "$1")"/*) printf '%s\n' "$pid" ;;
    *) return 1 ;;
  esac
}

cleanup() {
  local n pid
  trap '' INT TERM HUP
  for n in "${nodes[@]}"; do
    if pid=$(agent_pid "$n"); then kill -KILL "$pid" || true; fi
  done
  for n in "${nodes[@]}" switch; do
    ip netns delete "$tag-n$n" 2>/dev/null || true
  done
  rm -rf "$dir"
}

# The bridge has a namespace of its own: this machine's network is not touched.
make_network() {
  local n
  ip netns add "$(ns switch)"
  ip -n "$(ns switch)" link add bridge type bridge
  ip -n "$(ns switch)" link set bridge up
  for n in "${nodes[@]}"; do
    ip netns add "$(ns "$n")"
    ip link add uplink netns "$(ns "$n")" type veth peer name "port$n" netns "$(ns switch)"
    ip -n "$(ns switch)" link set "port$n" master bridge up
    ip -n "$(ns "$n")" address add "$net.$n/24" dev uplink
    ip -n "$(ns "$n")" link set uplink up
    ip -n "$(ns "$n")" link set lo up
  done
}

install_nodes() {
  local n
  for n in "${nodes[@]}"; do
    # The agent does not run as root and must get through to its directories.
    install -d -m 0755 "$(root "$n")"
    ip netns exec "$(ns "$n")" scripts/install.sh "$1" --root "$(root "$n")" --user nobody \
      --name "n$n" --advertise "$net.0/24" --engine builtin --documents "$(root "$n")/documents" --demo-documents
  done
}

provision_nodes() {
  local n
  provision 1 first --token-out "$dir/token" --cluster-name namespaces
  for n in 2 3; do
    provision "$n" join "$net.1" --token-file "$dir/token" --nodes "$n"
  done
  for n in "${nodes[@]}"; do provision "$n" wait 3; done
}

# fingerprint is everything that provisioning again must leave as it is.
fingerprint() {
  local n
  for n in "${nodes[@]}"; do
    agent_pid "$n"
    sha256sum "$(root "$n")"/etc/usher/usher.yaml "$(root "$n")"/var/lib/usher/{node.crt,node.id,node.key} "$(root "$n")"/documents/*.csv
  done
  sha256sum "$dir/token"
  usher 1 --output json node list | grep '"id"' | sort
}

central() { usher "$1" --output json central show | sed -n 's/.*"name": "n\([0-9]\)".*/\1/p'; }

# write N VALUE: a setting that nothing here depends on.
write() { usher "$1" --timeout 1s setting set engine.max_sessions "$2" >/dev/null 2>&1; }

milliseconds() { date +%s%3N; }

# kill_central kills the central node and writes on through another one.
kill_central() {
  local victim witness pid began took value
  victim=$(central 1)
  [ -n "$victim" ] || fail "no central node is known"
  witness=$((victim % 3 + 1))
  write "$witness" 100 || fail "a write through n$witness failed with all nodes up"
  pid=$(agent_pid "$victim") || fail "the agent of n$victim does not run"
  kill -KILL "$pid"
  began=$(milliseconds)
  until write "$witness" 101; do
    took=$(($(milliseconds) - began))
    [ "$took" -lt 10000 ] || fail "no write within 10 s after the central node n$victim was killed"
  done
  took=$(($(milliseconds) - began))
  for value in 102 103 104 105; do
    write "$witness" "$value" || fail "a write without n$victim failed"
  done
  [ "$(central "$witness")" != "$victim" ] || fail "n$victim is dead and still central"
  printf 'n%s was central and was killed; the next write through n%s was acknowledged after %s ms\n' "$victim" "$witness" "$took"
  bring_back "$victim"
}

bring_back() {
  local got
  provision "$1" start
  provision "$1" wait 3
  got=$(usher "$1" setting get engine.max_sessions)
  [ "$got" = 105 ] || fail "n$1 came back and reads $got, not the 105 that was written meanwhile"
}

stop_nodes() {
  local n
  for n in "${nodes[@]}"; do
    provision "$n" stop || fail "n$n did not stop when it was told to"
  done
}

run() {
  step "install"
  install_nodes "$1" 2>"$dir/install.log" || { cat "$dir/install.log" >&2 && fail "install.sh"; }
  step "provision"
  provision_nodes
  usher 2 status
  step "provision again: nothing changes"
  fingerprint >"$dir/before"
  install_nodes "$1" 2>/dev/null
  provision_nodes 2>/dev/null
  fingerprint >"$dir/after"
  diff "$dir/before" "$dir/after" || fail "provisioning twice changed something"
  step "kill the central node"
  kill_central
  step "stop"
  stop_nodes
  printf 'ok: %s s\n' "$SECONDS"
}

main() {
  tag=usher-$$
  check_here
  dir=$(mktemp -d)
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  chmod 0755 "$dir"
  local binary=${1:-}
  if [ -z "$binary" ]; then
    step "build"
    binary=$dir/usher
    CGO_ENABLED=0 go build -trimpath -o "$binary" ./cmd/usher
  fi
  make_network
  run "$binary"
}

main "$@"
