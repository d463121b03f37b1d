#!/usr/bin/env bash
# Checks of everything that is not Go: shell scripts, the systemd unit, the
# Vagrantfile, the commands in the documents, and a cluster made by the scripts. What
# needs a tool that is not there is skipped aloud.
#
#   ./scripts/check.sh          all but the cluster
#   ./scripts/check.sh full     all
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'SKIPPED: %s\n' "$*"; }
have() { command -v "$1" >/dev/null; }

check_shell() {
  local f
  for f in scripts/*.sh .ci/run; do bash -n "$f"; done
  if have shellcheck; then
    shellcheck -x scripts/*.sh .ci/run
  else
    skip "shellcheck is not installed; bash -n read the scripts"
  fi
}

check_vagrantfile() {
  if have ruby; then
    ruby -c Vagrantfile >/dev/null
  else
    skip "ruby is not installed: the Vagrantfile's syntax was not checked"
  fi
}

# The unit names a binary that is not installed here: a copy names one that is.
check_unit() {
  if ! have systemd-analyze; then
    skip "systemd-analyze is not installed: the unit file was not verified"
    return
  fi
  sed 's#/usr/bin/usher#/bin/true#; s#^User=usher#User=root#; s#^Group=usher#Group=root#' scripts/usher.service >"$work/usher.service"
  systemd-analyze verify --man=no "$work/usher.service"
  # 20 is an exposure of 2.0.
  systemd-analyze security --no-pager --offline=true --threshold=20 scripts/usher.service >"$work/security" || {
    tail -n 1 "$work/security"
    return 1
  }
}

# commands_of FILE prints each usher command in the blocks and code spans of a
# document, without sudo, and as far as the next pipe, redirection or quote.
commands_of() {
  awk '/^ *```/ { block = !block; next }
       block { print; next }
       { while (match($0, /`[^`]+`/)) { print substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH) } }' "$1" |
    sed -nE 's/^ *(\$ )?(sudo )?(-u usher )?usher ([a-z].*)$/\4/p' | sed -E "s/ *[|<>'\"#;].*//"
}

# check_documents: every command that a document shows exists, with its flags.
check_documents() {
  local file line help word failed=0
  go build -o "$work/usher" ./cmd/usher
  for file in docs/operations.md; do
    while IFS= read -r line; do
      local words=()
      for word in $line; do
        case $word in -*) ;; *) if [[ $word =~ ^[a-z-]+$ ]]; then words+=("$word"); fi ;; esac
      done
      help=$(help_of "${words[@]}")
      for word in $line; do
        case $word in
          --*) grep -qE -- "(^|[^a-z-])${word%%=*}([^a-z-]|\$)" <<<"$help" || failed=1 && [ "$failed" = 0 ] || {
            printf '%s: usher %s: there is no %s\n' "$file" "$line" "$word"
          } ;;
        esac
      done
    done < <(commands_of "$file")
  done
  return "$failed"
}
