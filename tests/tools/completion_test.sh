# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# completion_test.sh SHARE: what bash, and man where it is installed, make of the files in SHARE
# that the build wrote from the commands.
set -u
share=$(realpath "$1")
failed=0

# expect WORDS... -- COMPLETED...: with the cursor at the end of the last of WORDS.
expect() {
  COMP_WORDS=()
  while [ "$1" != -- ]; do
    COMP_WORDS+=("$1")
    shift
  done
  shift
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _xenoprof
  if [ "${COMPREPLY[*]}" != "$*" ]; then
    echo "${COMP_WORDS[*]}: completed to '${COMPREPLY[*]}', not '$*'"
    failed=1
  fi
}
# shellcheck disable=SC2317 # called by what is sourced below
compopt() { :; }  # is for a completion under way

# shellcheck source=/dev/null
. "$share/bash-completion/completions/xenoprof" || exit 1
cd "$(mktemp -d)" || exit 1
mkdir 'a session' && touch perf.data
expect xenoprof rep -- report
expect xenoprof report --form -- --format
expect xenoprof report --format '' -- csv json text
expect xenoprof report --format = j -- json
expect xenoprof report -s p -- process pid
expect xenoprof report -s process,sy -- process,symbol
expect xenoprof diff a -- 'a session'
expect xenoprof export --format s -- speedscope
expect xenoprof record -o pe -- perf.data
expect xenoprof report --top '' --
expect xenoprof record -g d -- dwarf
expect xenoprof record -g --fo -- --for
rm -r "$PWD"

for page in "$share"/man/man1/*; do
  if command -v man >/dev/null; then
    complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    if [ -n "$complaints" ]; then
      echo "$page: $complaints"
      failed=1
    fi
  fi
done
[ -e "$share/man/man1/xenoprof-report.1" ] || failed=1
exit $failed
