#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What the emulated PMU costs: the same work in machines of one processor each, without a plugin,
# with the PMU, and with the `cache` plugin of QEMU's sources when $QEMU_SOURCE names them. Prints
# ratios to the machine without, taken in each round, the median of $ROUNDS (5): of wall time, and
# of QEMU's processor time, which other work on the host disturbs less. $WORK and $ROWS pick from
# the table.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
lab=$top/build/bin/xenoprof-lab
rounds=${ROUNDS:-5}
prefix=bench-$$
results=$(mktemp -d)

down() {
	for machine in plain pmu cache; do
		[ ! -e "$results/$machine" ] || "$lab" down --name "$prefix-$machine" >/dev/null 2>&1 || true
	done
	rm -rf "$results"
}
trap down EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }
in_machine() {
	machine=$1
	shift
	"$lab" exec --name "$prefix-$machine" linux -- "$@" </dev/null
}

work() {
	case $1 in
	compute)
		# shellcheck disable=SC2016  # for the machine's shell
		echo 'cat /usr/bin/perf /usr/bin/perf /usr/bin/perf | head -c 32000000 | gzip | sha1sum; i=0; while [ $i -lt 1200 ]; do /bin/true; i=$((i+1)); done'
		;;
	tcp) echo 'iperf3 --client 127.0.0.1 --bytes 4G' ;;
	esac
}

up() {
	machine=$1
	shift
	touch "$results/$machine"
	"$lab" up linux --name "$prefix-$machine" --vcpus 1 "$@" 2>"$results/$machine" || {
		cat "$results/$machine" >&2
		exit 1
	}
	in_machine "$machine" iperf3 --server --daemon
}

# Prints seconds of wall and of QEMU's processor time.
ticks=$(getconf CLK_TCK)
clock() {
	pid=$("$lab" status | sed -n "s/^$prefix-$1: .* process \([0-9]*\),.*/\1/p")
	awk -v ticks="$ticks" -v now="$(date +%s.%N)" \
		'{ sub(/.*\) /, ""); printf "%.2f %.2f\n", now, ($12 + $13) / ticks }' "/proc/$pid/stat"
}
# Under perf in both machines, so that its own work is on both sides of a ratio; the work is long,
# so that perf's, little of which is counted, does not make a ratio look better. Without events
# not under perf, which tries the cycles event when it starts, whatever it is asked to count.
measure() {
	machine=$1
	row=$2
	kind=$3
	events=$4
	under=
	[ -z "$events" ] || under="perf record -q -a -o /tmp/data $events --"
	before=$(clock "$machine")
	in_machine "$machine" sh -c "$under sh -c '$(work "$kind")' \
		>/tmp/log 2>&1 || { cat /tmp/log; exit 1; }" >&2
	echo "$kind $row $before $(clock "$machine")" >>"$results/times"
}

# Enough instructions for the PMU to have fallen asleep again.
settle() {
	in_machine pmu sh -c 'head -c 120000000 /dev/zero | sha1sum >/dev/null'
}

# Rows of the table: name, perf's options, what is counted. Numbers are family 10h's events. Each
# event has its period in its name, as -c would be the period of all.
rows() {
	instructions='-e cpu/event=0xc0,period=1000000/'
	fetch_walks='-e cpu/event=0x85,umask=7,period=10000/'
	data_walks='-e cpu/event=0x46,umask=7,period=10000/'
	l2_misses='-e cpu/event=0x7e,umask=3,period=10000/'
	cat <<-END
		asleep||nothing programmed
		instructions|$instructions|instructions
		itlb|$fetch_walks|instruction TLB walks
		dtlb|$data_walks|data TLB walks
		l1|-e cpu/event=0x81,period=10000/ -e cpu/event=0x41,period=10000/|instruction and data cache misses
		l2|$l2_misses|L2 misses
		paper|$instructions $fetch_walks $data_walks $l2_misses|instructions, both kinds of walks, L2 misses
		mispredicts|-e branch-misses -c 10000|mispredicted branches
		cycles|-e cycles -c 1000000|cycles
	END
}

build_cache_plugin() {
	source=${QEMU_SOURCE:-}/contrib/plugins/cache.c
	if [ ! -e "$source" ]; then
		say "Without QEMU's own cache plugin: set QEMU_SOURCE to a folder of its sources to compare."
	elif ! flags=$(pkg-config --cflags glib-2.0 2>/dev/null); then
		say "Without QEMU's own cache plugin: building it wants libglib2.0-dev."
	else
		# shellcheck disable=SC2086  # flags are words
		cc -O2 -shared -fPIC $flags -I "$QEMU_SOURCE/include/qemu" -o "$results/libcache.so" "$source"
	fi
}

# All rows of a kind of work, with the median of each.
table() {
	{
		rows
		echo "cache|(QEMU's cache plugin)|QEMU's cache plugin: instruction and data cache misses, unsampled"
	} | awk -F '|' -v kind="$1" -v times="$results/times" '
		function median(values, n,    i, j, swap) {
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && values[j - 1] > values[j]; j--) {
					swap = values[j]
					values[j] = values[j - 1]
					values[j - 1] = swap
				}
			return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
		}
		BEGIN {
			while ((getline line < times) > 0) {
				split(line, field, " ")
				if (field[1] != kind)
					continue
				row = field[2]
				n[row]++
				wall[row, n[row]] = field[5] - field[3]
				cpu[row, n[row]] = field[6] - field[4]
			}
			printf "| %s | wall time | processor time |\n|---|---|---|\n", kind
		}
		n[$1] {
			base = $1 == "asleep" || $1 == "cache" ? "plain" : "perf"
			for (i = 1; i <= n[$1]; i++) {
				walls[i] = wall[$1, i] / wall[base, i]
				cpus[i] = cpu[$1, i] / cpu[base, i]
			}
			printf "| %s | %.2f | %.2f |\n", $3, median(walls, n[$1]), median(cpus, n[$1])
		}'
}

build_cache_plugin
up plain --plugin none
up pmu
[ ! -e "$results/libcache.so" ] || up cache --plugin "$results/libcache.so"
kinds=${WORK:-compute tcp}
round=0
while [ "$round" -lt "$rounds" ]; do
	round=$((round + 1))
	for kind in $kinds; do
		say "round $round of $rounds: $kind"
		measure plain plain "$kind" ''
		measure plain perf "$kind" '-e dummy'
		[ ! -e "$results/cache" ] || measure cache cache "$kind" ''
		rows | while IFS='|' read -r row events _; do
			[ -z "${ROWS:-}" ] || echo " $ROWS " | grep -q " $row " || continue
			settle
			measure pmu "$row" "$kind" "$events"
		done
	done
done
for kind in $kinds; do
	table "$kind"
	echo
done
