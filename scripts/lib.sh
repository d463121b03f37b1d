# shellcheck shell=bash
# What install.sh and provision.sh share: where things lie, and how an agent is
# started, asked and stopped with and without systemd. Sourced, never run; whoever
# sources it sets user, the name that the agent runs as.
# shellcheck disable=SC2154

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die WHAT [NEXT [CODE]]
die() {
  say "$1"
  if [ -n "${2:-}" ]; then printf 'next: %s\n' "$2" >&2; fi
  exit "${3:-1}"
}

usage_error() { die "$1" "see ${0##*/} --help" 2; }

# need_value FLAG VALUES-LEFT: a flag that stands last has no value.
need_value() { [ "$2" -ge 2 ] || usage_error "$1 needs a value"; }

# make_directory DIR...: with the usual mode; one that is there is left alone.
make_directory() { (umask 022 && mkdir -p "$@"); }

# layout ROOT: every path lies below ROOT, which is empty on a real machine.
layout() {
  root=${1%/}
  case $root in
    '' | /*) ;;
    *) root=$PWD/$root ;;
  esac
  binary=$root/usr/bin/usher
  config_dir=$root/etc/usher
  config=$config_dir/usher.yaml
  unit=$root/etc/systemd/system/usher.service
  data=$root/var/lib/usher
  run=$root/run/usher
  socket=$run/usher.sock
  pid_file=$run/usher.pid
  log=$root/var/log/usher.log
}

# systemd_here: a unit can be started. Not below a root of our own, and not in a
# container whose first process is something else.
systemd_here() { [ -z "$root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

need_root() {
  [ "$(id -u)" -eq 0 ] || die "this changes the system and needs root" "repeat it with sudo"
}

# as_user COMMAND...: with the agent's rights and none of the caller's environment.
# Each program in the chain replaces itself by the next.
as_user() {
  local words=(env -i PATH="$PATH" LANG=C.UTF-8)
  if [ "$user" != root ]; then
    words+=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --)
  fi
  exec "${words[@]}" "$@"
}

has_identity() { [ -e "$data/node.crt" ]; }

# running_pid prints the process that start_beside started, if it still runs. The
# number alone may belong to another process by now.
running_pid() {
  local pid
  [ -s "$pid_file" ] || return 1
  pid=$(<"$pid_file")
  case $(readlink "/proc/$pid/exe" 2>/dev/null) in
    "$binary" | "$binary (deleted)") printf '%s\n' "$pid" ;;
    *) return 1 ;;
  esac
}

agent_runs() {
  if systemd_here; then
    systemctl --quiet is-active usher.service
  else
    running_pid >/dev/null
  fi
}

start_agent() {
  if systemd_here; then
    systemctl --quiet enable usher.service
    systemctl start usher.service || die "the service does not start" "see journalctl -u usher.service -n 50"
  elif ! agent_runs; then
    start_beside
  fi
}

# start_beside runs the agent as a process of its own, for machines without systemd.
start_beside() {
  local pid n
  install -d -m 0750 -o "$user" -g "$(id -g "$user")" "$run"
  make_directory "${log%/*}"
  (as_user setsid "$binary" agent --config "$config") >>"$log" 2>&1 </dev/null &
  pid=$!
  printf '%s\n' "$pid" >"$pid_file"
  for ((n = 0; n < 100; n++)); do # until the chain of programs has come to the agent
    if running_pid >/dev/null; then return; fi
    [ -d "/proc/$pid" ] || break
    sleep 0.05
  done
  agent_ended
}

agent_ended() {
  tail -n 5 "$log" >&2 || true
  die "the agent has ended" "see $log"
}

# stop_agent lets requests end. It waits for as long as the unit would.
stop_agent() {
  if systemd_here; then
    if [ -e "$unit" ]; then systemctl stop usher.service; fi
    return
  fi
  local pid n
  pid=$(running_pid) || return 0
  kill -TERM "$pid"
  for ((n = 0; n < 900; n++)); do
    running_pid >/dev/null || return 0
    sleep 0.1
  done
  die "the agent (process $pid) did not stop within 90 s" "see $log"
}

# ask COMMAND...: this machine's own agent.
ask() { "$binary" --address "unix:$socket" "$@"; }

# number KEY and truth KEY read one value of indented JSON on standard input.
number() { sed -n "s/^ *\"$1\": \([0-9][0-9]*\),\{0,1\}\$/\1/p" | head -n 1; }
truth() { grep -q "^ *\"$1\": true,\{0,1\}\$"; }

# voters_of NODES: how many servers vote, by the cluster's policy.
voters_of() {
  if [ "$1" -ge 5 ]; then
    echo 5
  elif [ "$1" -eq 4 ]; then
    echo 3
  else
    echo "$1"
  fi
}

# gathered NODES: the agent here says that so many nodes are alive and may vote.
gathered() {
  local state alive voters
  state=$(ask --timeout 2s --output json status 2>/dev/null) || return 1
  alive=$(number nodes_alive <<<"$state")
  voters=$(number voters <<<"$state")
  truth quorum <<<"$state" && [ "${alive:-0}" -ge "$1" ] && [ "${voters:-0}" -ge "$(voters_of "$1")" ]
}

# wait_gathered NODES SECONDS
wait_gathered() {
  local until=$((SECONDS + $2))
  until gathered "$1"; do
    if ! systemd_here && ! agent_runs; then agent_ended; fi
    if [ "$SECONDS" -ge "$until" ]; then
      ask status >&2 || true
      die "there are not $1 nodes with a quorum after $2 s" "see the log: $(log_hint)"
    fi
    sleep 0.2
  done
}

log_hint() {
  if systemd_here; then echo "journalctl -u usher.service"; else echo "$log"; fi
}
