#!/usr/bin/env bash
# Checks of everything that is not Go: shell syntax, the systemd unit, the
# Vagrantfile. Each one that needs a tool which is not there is skipped aloud.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'SKIPPED: %s\n' "$*"; }

for f in scripts/*.sh .ci/run; do
  bash -n "$f"
done
if command -v shellcheck >/dev/null; then
  shellcheck scripts/*.sh .ci/run
else
  skip "shellcheck is not installed; bash -n read the scripts"
fi

if [ -f Vagrantfile ]; then
  if command -v ruby >/dev/null; then
    ruby -c Vagrantfile >/dev/null
  else
    skip "ruby is not installed: the Vagrantfile's syntax was not checked"
  fi
fi

if [ -f scripts/usher.service ]; then
  if command -v systemd-analyze >/dev/null; then
    # The unit names a binary that is not installed here: a copy names one that is.
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    sed 's#/usr/bin/usher#/bin/true#; s#^User=usher#User=root#; s#^Group=usher#Group=root#' scripts/usher.service > "$dir/usher.service"
    systemd-analyze verify --man=no "$dir/usher.service"
  else
    skip "systemd-analyze is not installed: the unit file was not verified"
  fi
fi
