#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What one sample of the whole system costs xenoprof and perf on bare Linux, in instructions of the
# emulated machine, which do not depend on how busy this one is. The same work is recorded with few
# and with many samples: what the machine executes more, over the samples that are more, is the cost
# of one, from interrupt to profile, without what a recording costs once. Of three runs the least
# counts: what else the machine does only adds.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
lab=$top/build/bin/xenoprof-lab
name=bench-record-$$
trap '"$lab" down --name "$name" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM

"$lab" up linux --name "$name" --vcpus 2 >&2
"$lab" exec --name "$name" linux -- sh -s <<'SCRIPT'
set -eu
cd /root
work='i=0; while [ $i -lt 4 ]; do head -c 40000000 /dev/zero | sha1sum >/dev/null; i=$((i+1)); done'
# Runs a recorder under perf stat; prints samples, instructions in user mode, in the kernel.
measure() {
	samples_of=$1
	shift
	perf stat -x, -a -e instructions:u,instructions:k -o stat "$@" >/dev/null 2>log || { cat log >&2; exit 1; }
	samples=$(perf report --stats -i "$samples_of" 2>/dev/null | awk '/SAMPLE events/ { print $3; exit }')
	echo "$samples $(awk -F, '/instructions/ { print $1 }' stat | tr '\n' ' ')"
}
few=1000000
many=20000
for round in 1 2 3; do
	for tool in perf xenoprof; do
		for count in $few $many; do
			echo "$tool: one sample each $count instructions" >&2
			if [ $tool = perf ]; then
				line=$(measure data perf record -q -a -e instructions -c $count -o data -- sh -c "$work")
			else
				line=$(measure session/host.perf.data xenoprof record --no-progress -a \
					-e instructions:$count -o session -- sh -c "$work")
			fi
			echo "$tool $count $line" >>times
		done
	done
done
awk -v few=$few -v many=$many '
	function least(column) {
		key = $1 " " $2 " " column
		if (!(key in value) || $column < value[key])
			value[key] = $column
	}
	function more(tool, column) {
		return value[tool " " many " " column] - value[tool " " few " " column]
	}
	{ least(3); least(4); least(5) }
	END {
		printf "%-10s %12s %12s %12s\n", "per sample", "user", "kernel", "together"
		split("perf xenoprof", tools, " ")
		for (i = 1; i <= 2; i++) {
			n = more(tools[i], 3)
			user = more(tools[i], 4) / n
			kernel = more(tools[i], 5) / n
			printf "%-10s %12.0f %12.0f %12.0f\n", tools[i], user, kernel, user + kernel
		}
	}' times
SCRIPT
