#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Usage: demo.sh xen|kvm [DIR]: one session on an emulated host: it sends TCP into guest1 while guest2
# computes. Leaves the session in DIR and prints its report.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
kind=$1
case $kind in
xen) host=dom0 out=${2:-$top/demo-out} chains=-g ;;
# The host sees no stack of a guest's.
kvm) host=host out=${2:-$top/demo-kvm-out} chains= ;;
esac
xenoprof=$top/build/bin/xenoprof
name=demo-$$

lab() { "$xenoprof" lab "$@"; }
in_domain() {
	domain=$1
	shift
	lab exec --name "$name" "$domain" -- "$@"
}

trap 'lab down --name "$name" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM

lab up "$kind" --name "$name" --guests 2
in_domain guest1 iperf3 --server --daemon
in_domain guest2 sh -c 'compute >/dev/null 2>&1 &'
in_domain "$host" sh -c 'iperf3 --client guest1 --time 60 >/dev/null 2>&1 &'
sleep 1
in_domain "$host" xenoprof record -a -e instructions:250000 -e branches:100000 ${chains:+"$chains"} --for 10s \
	--domains all --no-progress -o /root/session
if [ -e "$out" ] || [ -L "$out" ]; then
	if [ -L "$out" ] || [ ! -O "$out" ] || [ ! -e "$out/session.json" ]; then
		echo "$out is there and is no session of yours: name another folder" >&2
		exit 1
	fi
	rm -rf "$out"
fi
lab copy --name "$name" "$host":/root/session "$out"
"$xenoprof" report "$out"
echo "The session is in $out: try \`build/bin/xenoprof report --sort domain,mode $out\`."
