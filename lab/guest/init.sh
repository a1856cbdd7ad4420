#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# The first process of every domain of a lab. /etc/xenoprof/lab.conf says which domain this is:
# ROLE (linux, dom0, xen-guest, kvm-host, kvm-guest), NAME, ADDRESS, PORT, and WIRE: the address of
# the second network card, "bridge" where it is a guest's, or empty.
/bin/busybox --install -s /usr/bin 2>/dev/null
export PATH=/usr/local/bin:/usr/bin:/usr/sbin HOME=/root
# shellcheck source=/dev/null
. /etc/xenoprof/lab.conf

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -sf /proc/self/fd /dev/fd
ln -sf /run /var/run
mkdir -p /var/log/xen /var/lib/xen /run/xen /run/xenstored /var/lib/xenstored
mkdir -p /var/log/xenoprof-guests /run/xenoprof-guests
hostname "$NAME"

# A perf in here belongs to whoever came in here.
echo 0 > /proc/sys/kernel/kptr_restrict
echo -1 > /proc/sys/kernel/perf_event_paranoid
# Emulated interrupts are slow: the kernel would remark on it and allow fewer and fewer of them.
echo 0 > /proc/sys/kernel/perf_cpu_time_max_percent

while read -r module; do
  insmod "$module" || echo "xenoprof-lab: $NAME: cannot load $module"
done < /etc/xenoprof/modules
[ -d /proc/xen ] && mount -t xenfs xenfs /proc/xen

# Guests' interfaces come to that of this card: bridge_card BRIDGE CARD
# The bridge keeps the card's address: else it takes the lowest of its ports', and when a guest goes
# whose interface had that one, nobody reaches this domain for a while.
bridge_card() {
  brctl addbr "$1"
  brctl addif "$1" "$2"
  ifconfig "$1" hw ether "$(cat "/sys/class/net/$2/address")"
  ifconfig "$2" up
}

ifconfig lo 127.0.0.1 up
case "$ROLE" in
  dom0) bridge=xenbr ;;
  kvm-host) bridge=br ;;
  *) bridge= ;;
esac
if [ -n "$bridge" ]; then
  bridge_card "${bridge}0" eth0
  ifconfig "${bridge}0" "$ADDRESS" netmask 255.255.255.0 up
else
  ifconfig eth0 "$ADDRESS" netmask 255.255.255.0 up
fi
case "$WIRE" in
  '') ;;
  bridge)
    bridge_card "${bridge}1" eth1
    ifconfig "${bridge}1" up
    ;;
  *)
    ifconfig eth1 "$WIRE" netmask 255.255.255.0 up
    ;;
esac

if [ "$ROLE" = dom0 ]; then
  xenstored --pid-file /run/xenstored.pid
  xen-init-dom0
  xenconsoled --log=all --log-dir=/var/log/xen
fi
case "$ROLE" in
  dom0 | xen-guest)
    if [ -e /lib/modules/xenoprof.ko ]; then
      insmod /lib/modules/xenoprof.ko || echo "xenoprof-lab: $NAME: cannot load xenoprof.ko"
    fi
    ;;
esac

xenoprof-lab-execd "$PORT" /etc/xenoprof/token &

# What a guest's agent listens on.
case "$ROLE" in
  xen-guest) channel=/dev/xenoprof ;;
  kvm-guest) channel=/dev/vsock ;;
  *) channel= ;;
esac
if [ -x /usr/bin/xenoprof ] && [ -e "$channel" ]; then
  xenoprof agent > /var/log/xenoprof-agent.log 2>&1 &
fi
echo "xenoprof-lab: $NAME is up after $(cut -d' ' -f1 /proc/uptime) s"

# The first process inherits the orphans and must not end.
while true; do
  wait
  sleep 3600 &
done
