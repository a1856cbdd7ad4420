#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# xl's hotplug script for a guest's network interface: into its bridge, and say so. xl sets $vif and
# $XENBUS_PATH.
export PATH=/usr/bin:/usr/sbin
case "$1" in
  online | add)
    brctl addif "$(xenstore-read "$XENBUS_PATH/bridge")" "${vif:?}"
    ifconfig "$vif" up
    xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
esac
