#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the Debian packages that building xenoprof takes, those that are missing. What the lab's
# machines are made of is not installed: the lab keeps it in the user's cache.
# `setup.sh checks` adds what `.ci/run` takes, `setup.sh long` what `make test-all` takes.
set -e

# The last line builds the kernel module and carries the lab's downloads.
packages="
  g++ cmake ninja-build make pkg-config
  libcli11-dev libfmt-dev nlohmann-json3-dev libtomlplusplus-dev protobuf-compiler libprotobuf-dev
  libelf-dev libdw-dev libbz2-dev liblzma-dev libcapstone-dev libiberty-dev libpfm4-dev libxen-dev
  libarchive-dev libncurses-dev zlib1g-dev libzstd-dev
  libgtest-dev libgmock-dev libclang-rt-dev linux-perf xz-utils
  node-d3-selection node-d3-hierarchy
  gcc-12 flex bison bc ca-certificates apt
"

case "${1:-}" in
  checks)
    packages="$packages shellcheck clang-format-19 clang-tidy-19 man-db
      chromium chromium-driver fonts-dejavu-core libcpp-httplib-dev libssl-dev"
    ;;
  long)
    packages="$packages clang-tidy-19 valgrind zsh"
    # Node's own packages bring npm along and conflict with Debian's.
    command -v npm >/dev/null || packages="$packages nodejs npm"
    ;;
esac

missing=
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: these packages are missing; install them as root:$missing" >&2
    exit 1
  fi
  as_root=sudo
fi
echo "setup: installing$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
