#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# In a KVM host: makes a guest of the lab, the first time and after it was killed.
# Usage: xenoprof-lab-guest NAME
set -e
cd /var/lib/xenoprof
# A QEMU that was killed holds the guest's network interface until it is gone.
if pid=$(cat "/run/xenoprof-guests/$1.pid" 2>/dev/null); then
  i=0
  while [ -d "/proc/$pid" ]; do
    [ $i -lt 50 ] || { echo "$1 is there, process $pid" >&2; exit 1; }
    i=$((i + 1))
    sleep 0.1
  done
fi
# QEMU reads one file, the kernel any number of archives in it.
cat base.cpio programs.cpio "$1.cpio" > "/tmp/$1.cpio"
trap 'rm -f "/tmp/$1.cpio"' EXIT
# QEMU puts it at the very end of memory, where the firmware then has its ACPI tables (microvm.c of
# 10.0 leaves no room for them): whole pages end in time.
truncate -s $((($(stat -c %s "/tmp/$1.cpio") + 4095) / 4096 * 4096)) "/tmp/$1.cpio"
xargs -0 env < "$1.arguments"
brctl addif br0 "$1"
ifconfig "$1" up
if [ -e "/sys/class/net/$1-wire" ]; then
  brctl addif br1 "$1-wire"
  ifconfig "$1-wire" up
fi
