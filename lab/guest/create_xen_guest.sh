#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# In dom0: makes a guest of the lab, the first time and after it was destroyed.
# Usage: xenoprof-lab-guest NAME
set -e
cd /var/lib/xenoprof
# xl reads one file, the kernel any number of archives in it.
cat base.cpio programs.cpio "$1.cpio" > "/tmp/$1.cpio"
trap 'rm -f "/tmp/$1.cpio"' EXIT
xl create -q "$1.cfg"
