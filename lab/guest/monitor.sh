#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# In a KVM host: a command of QEMU's monitor (stop, cont, quit, info status, ...) to a guest. It is
# done when this ends.
# Usage: xenoprof-lab-monitor NAME COMMAND...
guest=$1
shift
# Of what comes back, the greeting and the edited command line are for terminals.
echo "$@" | nc 127.0.0.1 $((4400 + ${guest#guest})) | tr -d '\r' | sed -e '/^QEMU /d' -e '/^(qemu)/d'
