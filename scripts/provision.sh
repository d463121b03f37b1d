#!/usr/bin/env bash
# Makes a cluster of machines on which install.sh has run. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

help() {
  cat <<'TEXT'
provision.sh: make a cluster of installed machines

Usage:
  provision.sh first [--token-out FILE]            on the first machine
  provision.sh token                               on a node: print a join token
  provision.sh join HOST[:PORT]... --token-file FILE    on every other machine
  provision.sh wait NODES                          until so many nodes are there
  provision.sh start | stop                        the agent of this machine

first makes the cluster, starts the agent and writes a join token for the others;
what usher init shows only once goes to a file for root alone. join joins and
starts. Both wait until usher status shows the node with a quorum. What is done
already is left alone, so that each may run again.

Options:
  --token-out FILE      first: where the join token goes (mode 0600); by default
                        none is made, and provision.sh token prints one later
  --token-file FILE     join: file with the join token, - for standard input
  --uses N              machines that may join with the token (default 10 for
                        first, 1 for token)
  --ttl DURATION        until the token expires (default 1h)
  --cluster-name NAME   first: what the cluster is called (default usher)
  --secrets-out FILE    first: where admin token and recovery key go
                        (default /root/usher-init.json, mode 0600)
  --nodes N             first, join: wait for so many nodes (default 1 and 2)
  --timeout SECONDS     for all waiting (default 60)
  --root DIR            what install.sh was given
  --user NAME           what install.sh was given

The address to advertise stands in the configuration: see install.sh --advertise.

Exit codes: 0 done, 1 failed, 2 the command line is wrong.
TEXT
}

defaults() {
  command='' arguments=() root_dir='' user=usher timeout=60
  token_out='' token_file='' uses='' ttl=1h cluster_name=usher secrets_out='' nodes=''
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help) help && exit 0 ;;
      --token-out | --token-file | --uses | --ttl | --cluster-name | --secrets-out | --nodes | --timeout | --root | --user)
        need_value "$1" $#
        option "$1" "$2"
        shift
        ;;
      -*) usage_error "there is no flag $1" ;;
      *) if [ -z "$command" ]; then command=$1; else arguments+=("$1"); fi ;;
    esac
    shift
  done
}

option() {
  case $1 in
    --token-out) token_out=$2 ;;
    --token-file) token_file=$2 ;;
    --uses) uses=$(positive "$1" "$2") ;;
    --ttl) ttl=$2 ;;
    --cluster-name) cluster_name=$2 ;;
    --secrets-out) secrets_out=$2 ;;
    --nodes) nodes=$(positive "$1" "$2") ;;
    --timeout) timeout=$(positive "$1" "$2") ;;
    --root) root_dir=$2 ;;
    --user) user=$2 ;;
  esac
}

# positive WHAT TEXT prints a number from 1 to 9999.
positive() {
  [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "$1: $2 is no number"
  printf '%s\n' "$2"
}

arguments_wanted() {
  [ "${#arguments[@]}" -ge "$1" ] || usage_error "$command needs $3"
  [ "$2" -lt 0 ] || [ "${#arguments[@]}" -le "$2" ] || usage_error "${arguments[$2]} is one argument too many"
}

need_installed() {
  if [ ! -x "$binary" ] || [ ! -e "$config" ]; then die "usher is not installed here" "run install.sh first"; fi
  getent passwd "$user" >/dev/null || die "there is no user $user" "run install.sh first, or name the user with --user"
}

first() {
  arguments_wanted 0 0
  if has_identity; then
    say "there is a node in $data already"
  else
    make_cluster
  fi
  start_agent
  wait_gathered "${nodes:-1}" "$timeout"
  if [ -n "$token_out" ] && [ ! -s "$token_out" ]; then
    (umask 077 && print_token "${uses:-10}" >"$token_out.new")
    mv -f "$token_out.new" "$token_out"
    say "the join token for the others is in $token_out"
  fi
}

# make_cluster keeps what init prints from terminals and logs.
make_cluster() {
  local out=${secrets_out:-$root/root/usher-init.json}
  [ ! -s "$out" ] || die "$out holds the secrets of another cluster" "move it to a safe place, or choose another file with --secrets-out"
  mkdir -p "${out%/*}"
  (umask 077 && as_user "$binary" init --config "$config" --cluster-name "$cluster_name" --output json >"$out.new") ||
    rm -f "$out.new"
  [ -s "$out.new" ] || die "no cluster was made"
  mv -f "$out.new" "$out"
  say "made a cluster; its admin token and recovery key are in $out"
  printf 'next: move that file off this machine, to a safe place\n' >&2
}

print_token() { ask join-token create --quiet --uses "$1" --ttl "$ttl"; }

token() {
  arguments_wanted 0 0
  print_token "${uses:-1}"
}

join() {
  arguments_wanted 1 -1 "the address of a node"
  if has_identity; then
    say "there is a node in $data already"
  else
    [ -n "$token_file" ] || usage_error "join needs --token-file"
    join_cluster
  fi
  start_agent
  wait_gathered "${nodes:-2}" "$timeout"
}

# join_cluster hands the token over by standard input: the agent's user need not
# be able to read the file, and no process list shows it.
join_cluster() {
  if [ "$token_file" != - ]; then
    [ -r "$token_file" ] || die "there is no token file $token_file" "make one on a node with provision.sh token"
    exec <"$token_file"
  fi
  local answer
  answer=$(as_user timeout --foreground --kill-after=5 "$timeout" "$binary" join --config "$config" --join-token-file - "${arguments[@]}") ||
    die "this machine did not join" "see above; the cluster port of ${arguments[0]} must be reachable from here"
  # The answer goes on with how to start the agent, which happens here anyway.
  grep -e ' is a node of ' -e '^warning: ' <<<"$answer" >&2 || true
}

main() {
  defaults
  parse "$@"
  need_root
  layout "$root_dir"
  case $command in
    '') usage_error "give a command" ;;
    first | token | join | wait | start | stop) need_installed ;;
    *) usage_error "there is no command $command" ;;
  esac
  case $command in
    first | token | join) "$command" ;;
    wait)
      arguments_wanted 1 1 "the number of nodes"
      nodes=$(positive NODES "${arguments[0]}")
      wait_gathered "$nodes" "$timeout"
      ;;
    start) arguments_wanted 0 0 && start_agent ;;
    stop) arguments_wanted 0 0 && stop_agent ;;
  esac
}

main "$@"
