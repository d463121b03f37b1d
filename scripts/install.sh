#!/usr/bin/env bash
# Installs usher on a Debian machine. See --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

help() {
  cat <<'TEXT'
install.sh: install usher on this machine

Usage:
  install.sh BINARY [options]         install this binary
  install.sh --build [options]        build it from the checkout first (needs Go)
  install.sh --uninstall [--purge]    take it away again

It makes the user and group usher, the directories, the systemd unit and, when
there is none yet, /etc/usher/usher.yaml. It starts nothing: that is the work of
provision.sh. Run it again to install another binary; what is right already stays
as it is.

The configuration (each has the meaning of the same flag of usher agent):
  --name NAME            this node's name; by default the machine's
  --bind HOST:PORT       where the cluster port listens
  --advertise ADDRESS    how other nodes reach it: address, interface or network
  --door HOST:PORT       where users arrive
  --public-name NAME     the name by which users reach this door
  --api HOST:PORT        where the admin API listens; off for the socket alone
  --engine [NAME=]URL    what to front: a URL, builtin or none; may be repeated
  --documents DIR        the built-in engine's CSV files
  --demo-documents       put two generated documents there, if it is empty

Where:
  --root DIR             install below DIR, for images and tests; no systemd
  --user NAME            an existing user that the agent runs as, instead of usher

Removing:
  --uninstall            stop the agent; remove the binary and the unit
  --purge                remove configuration, data, log and the user too
  --yes                  do not ask

Exit codes: 0 done, 1 failed, 2 the command line is wrong.
TEXT
}

defaults() {
  mode=install source_binary='' build=no purge=no yes=no root_dir='' user=usher
  name='' bind='' advertise='' door='' public_name='' api='' documents='' demo_documents=no
  engines=() configured=no
}

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help) help && exit 0 ;;
      --build) build=yes ;;
      --uninstall) mode=uninstall ;;
      --purge) purge=yes ;;
      --yes) yes=yes ;;
      --demo-documents) demo_documents=yes ;;
      --root | --user | --name | --bind | --advertise | --door | --public-name | --api | --engine | --documents)
        need_value "$1" $#
        option "$1" "$2"
        shift
        ;;
      -*) usage_error "there is no flag $1" ;;
      *)
        [ -z "$source_binary" ] || usage_error "$1 is one argument too many"
        source_binary=$1
        ;;
    esac
    shift
  done
}

option() {
  case $1 in
    --root) root_dir=$2 && return ;;
    --user) user=$2 && return ;;
    --name) name=$2 ;;
    --bind) bind=$2 ;;
    --advertise) advertise=$2 ;;
    --door) door=$2 ;;
    --public-name) public_name=$2 ;;
    --api) api=$2 ;;
    --engine) engines+=("$2") ;;
    --documents) documents=$2 ;;
  esac
  configured=yes
}

check_line() {
  if [ "$mode" = uninstall ]; then
    if [ "$build" = yes ] || [ -n "$source_binary" ] || [ "$configured" = yes ]; then
      usage_error "--uninstall takes only --purge, --yes and --root"
    fi
    return
  fi
  [ "$purge" = no ] || usage_error "--purge goes with --uninstall"
  if [ "$build" = yes ]; then
    [ -z "$source_binary" ] || usage_error "give either a binary or --build"
  else
    [ -n "$source_binary" ] || usage_error "give the binary to install, or --build"
  fi
  [ "$demo_documents" = no ] || [ -n "$documents" ] || usage_error "--demo-documents needs --documents DIR"
}

build_binary() {
  command -v go >/dev/null || die "there is no Go to build with" "install Go 1.26 or later (https://go.dev/dl), or give a finished binary"
  source_binary=$work/usher
  say "building"
  (cd "$here/.." && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$source_binary" ./cmd/usher)
}

check_binary() {
  [ -f "$source_binary" ] || die "there is no file $source_binary" "give the path of the usher binary, or --build"
  cp "$source_binary" "$work/candidate"
  chmod 0755 "$work/candidate"
  "$work/candidate" version >/dev/null 2>&1 ||
    die "$source_binary does not run here ($(uname -s) $(uname -m))" "give a binary that was built for this machine"
}

make_user() {
  if getent passwd "$user" >/dev/null; then return; fi
  [ "$user" = usher ] || die "there is no user $user" "make it first, or leave --user out"
  [ -z "$root" ] || die "below --root no user is made, and there is no user usher here" "name an existing one with --user"
  if ! getent group usher >/dev/null; then groupadd --system usher; fi
  useradd --system --gid usher --home-dir "$data" --no-create-home --shell /usr/sbin/nologin --comment 'usher agent' usher
  say "made the user usher"
}

make_directories() {
  local group
  group=$(id -g "$user")
  make_directory "${binary%/*}" "${unit%/*}" "${data%/*}" "${run%/*}"
  install -d -m 0750 -o root -g "$group" "$config_dir"
  install -d -m 0700 -o "$user" -g "$group" "$data"
}

# put SOURCE TARGET MODE: at once or not at all, and not when it is there already.
# A program that runs keeps its old file.
put() {
  if cmp -s "$1" "$2" && [ "$(stat -c %a "$2")" = "$3" ]; then return 1; fi
  install -m "$3" "$1" "$2.new"
  mv -f "$2.new" "$2"
  say "installed $2"
}

# quoted VALUE: a YAML text.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

# entry INDENT KEY VALUE: nothing for an empty value.
entry() { if [ -n "$3" ]; then printf '%s%s: %s\n' "$1" "$2" "$(quoted "$3")"; fi; }

# section KEY ENTRIES
section() { if [ -n "$2" ]; then printf '%s:\n%s\n' "$1" "$2"; fi; }

print_config() {
  local engine
  echo '# Settings of this node. What the whole cluster agrees on is changed with usher setting.'
  echo '# Every flag of usher agent may stand here: see usher agent --help and --print-config.'
  entry '' data_dir "$data"
  section node "$(entry '  ' name "$name")"
  section cluster "$(entry '  ' bind "$bind" && entry '  ' advertise "$advertise")"
  section door "$(entry '  ' listen "$door" && entry '  ' public_name "$public_name")"
  section api "$(entry '  ' listen "$api" && entry '  ' socket "$socket")"
  if [ "${#engines[@]}" -gt 0 ]; then
    echo 'engines:'
    for engine in "${engines[@]}"; do printf '  - %s\n' "$(quoted "$engine")"; done
  fi
  section engine "$(entry '  ' documents "$documents")"
}

write_config() {
  if [ -e "$config" ]; then
    [ "$configured" = no ] || say "$config is there already: kept as it is, the flags for it change nothing"
    return
  fi
  local candidate=$work/usher.yaml
  print_config >"$candidate"
  "$binary" validate "$candidate" >/dev/null || die "the flags make no valid configuration" "correct them and repeat; $config was not written"
  install -m 0640 -o root -g "$(id -g "$user")" "$candidate" "$config.new"
  mv -f "$config.new" "$config"
  say "wrote $config"
}

# demo_csv KIND: the same bytes on every machine.
demo_csv() {
  awk -v kind="$1" 'BEGIN {
    split("north east south west", region, " "); split("desk lamp chair shelf", item, " ")
    print kind == "sales" ? "order,region,product,units,revenue" : "sku,region,product,stock"
    for (i = 1; i <= 2000; i++) {
      r = region[1 + i * 7 % 4]; p = item[1 + int(i / 4) % 4]; n = 1 + i * 31 % 19
      if (kind == "sales") printf "%d,%s,%s,%d,%d.%02d\n", i, r, p, n, n * 24, i % 100
      else printf "S%05d,%s,%s,%d\n", i, r, p, n * 5
    }
  }'
}

write_documents() {
  [ "$demo_documents" = yes ] || return 0
  local kind
  install -d -m 0755 "$documents"
  [ -z "$(ls -A "$documents")" ] || return 0
  for kind in sales stock; do
    demo_csv "$kind" >"$work/$kind.csv"
    install -m 0644 "$work/$kind.csv" "$documents/$kind.csv"
  done
  say "wrote demonstration documents to $documents"
}

install_unit() {
  local source=$here/usher.service
  [ -f "$source" ] || die "$source is missing" "keep install.sh, lib.sh and usher.service in one directory"
  if [ "$user" != usher ]; then
    sed "s/^User=usher\$/User=$user/; s/^Group=usher\$/Group=$(id -gn "$user")/" "$source" >"$work/usher.service"
    source=$work/usher.service
  fi
  if put "$source" "$unit" 644 && systemd_here; then systemctl daemon-reload; fi
  systemd_here || say "systemd is not in charge here: the unit waits for a start with it, provision.sh starts the agent without"
}

install_all() {
  local changed=no
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  [ "$build" = no ] || build_binary
  check_binary
  make_user
  make_directories
  if put "$work/candidate" "$binary" 755; then changed=yes; fi
  write_config
  write_documents
  install_unit
  if [ "$changed" = yes ] && agent_runs; then
    say "the agent still runs the binary from before"
    printf 'next: systemctl restart usher.service, one node at a time\n' >&2
  elif ! has_identity; then
    printf 'next: %s first on the first machine, join on the others\n' "$here/provision.sh" >&2
  fi
}

confirm_purge() {
  if [ "$purge" = no ] || [ "$yes" = yes ]; then return; fi
  [ -t 0 ] || die "--purge removes this node's data for good, and there is no terminal to ask" "repeat with --yes" 2
  local answer
  read -r -p "Remove $config_dir and $data for good? [y/N] " answer
  case $answer in y | Y | yes) ;; *) die "nothing was removed" ;; esac
}

uninstall() {
  confirm_purge
  if has_identity; then say "the cluster goes on listing this node until usher node remove"; fi
  if systemd_here && [ -e "$unit" ]; then systemctl --quiet disable usher.service; fi
  stop_agent
  rm -f "$binary" "$unit" "$pid_file"
  if systemd_here; then systemctl daemon-reload; fi
  if [ "$purge" = yes ]; then
    rm -rf "$config_dir" "$data" "$run" "$log"
    remove_user
  fi
  say "removed"
}

# remove_user removes the user that make_user made, no other.
remove_user() {
  if [ -z "$root" ] && [ "$(getent passwd usher | cut -d: -f5)" = 'usher agent' ]; then userdel usher; fi
}

main() {
  defaults
  parse "$@"
  check_line
  need_root
  layout "$root_dir"
  if [ "$mode" = uninstall ]; then uninstall; else install_all; fi
}

main "$@"
