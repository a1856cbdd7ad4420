#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# long.sh [--again] [ENTRY...]: the long tests, one entry after the other, an hour each at most. What
# passed is not run again for the same commit, unless it is named or --again is given.
# long.sh --list: the entries. long.sh --table: their last results, as docs/long-tests.md has them.
set -u
cd "$(dirname "$0")/.." || exit
records=build/long # ENTRY: result, seconds, date, commit; ENTRY.log: what it wrote
mkdir -p "$records"
commit=$(git describe --always --dirty --abbrev=12 --exclude '*')

list() {
  echo test
  ctest --test-dir build -N -L long -FA . | sed -n 's/^ *Test *#[0-9]*: //p'
}

command_of() {
  case $1 in
    test) echo make test ;;
    *) echo ctest --test-dir build -R "^$1\$" --no-tests=error -V ;;
  esac
}

# Of a tree with changes nobody knows what passed.
has_passed() {
  case $commit in *-dirty) return 1 ;; esac
  grep -qs "^passed .* $commit\$" "$records/$1"
}

run() {
  printf '%s ... ' "$1"
  began=$(date +%s)
  # shellcheck disable=SC2046 # a command and its arguments
  if ! timeout -k 10 3600 $(command_of "$1") >"$records/$1.log" 2>&1; then
    result=failed
  elif grep -q '\[  SKIPPED \]' "$records/$1.log"; then
    result=skipped
  else
    result=passed
  fi
  echo "$result $(($(date +%s) - began)) $(date -I) $commit" >"$records/$1"
  echo "$result, $records/$1.log"
  [ $result = passed ]
}

table() {
  echo '| entry | result | seconds | date | commit |'
  echo '|---|---|---:|---|---|'
  for entry in $(list); do
    [ ! -e "$records/$entry" ] || echo "| $entry | $(sed 's/ / | /g' "$records/$entry") |"
  done
}

case "${1:-}" in
  --list) list; exit ;;
  --table) table; exit ;;
  --again) rm -f "$records"/*; shift ;;
esac
entries=$*
failed=0
for entry in ${entries:-$(list)}; do
  if [ -z "$entries" ] && has_passed "$entry"; then
    echo "$entry has passed for $commit"
  else
    run "$entry" || failed=1
  fi
done
exit $failed
