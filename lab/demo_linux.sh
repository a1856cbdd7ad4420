#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# One session on an emulated machine with bare Linux: TCP to itself beside a computation. Leaves the
# session in demo-linux-out/ (or $1) and prints its report.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$top/demo-linux-out}
xenoprof=$top/build/bin/xenoprof
name=demo-linux-$$

lab() { "$xenoprof" lab "$@"; }
in_machine() { lab exec --name "$name" linux -- "$@"; }

trap 'lab down --name "$name" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM

lab up linux --name "$name" --vcpus 2
in_machine iperf3 --server --daemon
in_machine sh -c 'compute >/dev/null 2>&1 &'
in_machine sh -c 'iperf3 --client 127.0.0.1 --time 60 >/dev/null 2>&1 &'
sleep 1
in_machine xenoprof record -a -e instructions:250000 -e branches:100000 -g --for 10s \
	--no-progress -o /root/session
if [ -e "$out" ] || [ -L "$out" ]; then
	if [ -L "$out" ] || [ ! -O "$out" ] || [ ! -e "$out/session.json" ]; then
		echo "$out is there and is no session of yours: name another folder" >&2
		exit 1
	fi
	rm -rf "$out"
fi
lab copy --name "$name" linux:/root/session "$out"
"$xenoprof" report "$out"
echo "The session is in $out: try \`build/bin/xenoprof report --children $out\`."
