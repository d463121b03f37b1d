#!/usr/bin/env bash
# Checks of everything that is not Go: shell scripts, the systemd unit, the
# Vagrantfile, the patches of seeded bugs, and with "full" clusters of real processes: one
# made by the scripts, one whose addresses change, and one that the laboratory breaks. What
# needs a tool or rights that are not there is skipped aloud.
#
#   ./scripts/check.sh          all but the clusters
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

check_unit() {
  if ! have systemd-analyze; then
    skip "systemd-analyze is not installed: the unit file was not verified"
    return
  fi
  # The unit names a binary and a user that are not here: a copy names some that are.
  sed 's#/usr/bin/usher#/bin/true#; s#^User=usher#User=root#; s#^Group=usher#Group=root#' scripts/usher.service >"$work/usher.service"
  systemd-analyze verify --man=no "$work/usher.service"
  if ! systemd-analyze --help | grep -q -e --offline; then
    skip "this systemd-analyze cannot rate a unit that is not installed"
    return
  fi
  # An exposure of at most 2.0.
  if ! systemd-analyze security --no-pager --offline=true --threshold=20 scripts/usher.service >"$work/exposure"; then
    tail -n 1 "$work/exposure"
    return 1
  fi
}

# check_mutants: do the seeded bugs still fit the code? That each is caught is shown by
# mutants.sh without --check, in minutes.
check_mutants() {
  if have go && have git; then
    ./scripts/mutants.sh --check
  else
    skip "go or git is not installed: the patches of seeded bugs were not tried"
  fi
}

main() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  check_shell
  check_vagrantfile
  check_unit
  check_mutants
  if [ "${1:-}" = full ]; then
    ./scripts/netns.sh
    if [ "$(uname -s)" = Linux ]; then
      ./scripts/addresses-test.sh
      ./scripts/lab.sh smoke --seed 1
    else
      skip "addresses-test.sh needs Linux"
    fi
  fi
}

main "$@"
