#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""xenoprof and perf side by side on one recording: wall time and peak memory, as ratios.

Usage: bench/report.py BUILD [RECORDING]
Without a recording, one of about a million samples with call chains is made of this machine at
work, in BUILD/bench. Where FlameGraph's stackcollapse-perf.pl is installed, folded stacks are
compared with that, too.
"""
import collections
import os
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 3


def measure(command):
    """Seconds, and the peak in MiB of the largest process, of a command in a shell."""
    start = time.monotonic()
    child = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"bench: failed: {command}")
    return seconds, usage.ru_maxrss / 1024


def fold():
    """Folded stacks of `perf script -F comm,ip,sym` on standard input, with as little work for each
    line as a script can do. What is used most, FlameGraph's stackcollapse-perf.pl, takes longer."""
    stacks = collections.Counter()
    process, frames = "", []
    for line in sys.stdin:
        if line.startswith("\t"):
            frames.append(line.split(None, 1)[1].rstrip())
        elif not line.isspace():
            process = line.rstrip()
        elif process:
            stacks[";".join([process] + frames[::-1])] += 1
            process, frames = "", []
    for stack, count in stacks.items():
        print(stack, count)


def record(path):
    work = ("while :; do ls -lR /usr >/dev/null; find /usr/include -type f | xargs cat | gzip -1 | "
            "sha1sum >/dev/null; done")
    subprocess.run(["perf", "record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", "20000", "-m", "4M",
                    "-o", path, "--", "timeout", "27", "sh", "-c", work], check=False)


def main():
    build = sys.argv[1]
    path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(build, "bench", "perf.data")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        record(path)
    xenoprof = os.path.join(build, "bin", "xenoprof")
    this = os.path.abspath(__file__)
    pairs = [
        ("flat", f"perf report --stdio --no-children -g none -i {path}",
         f"{xenoprof} report {path}"),
        ("call graphs", f"perf report --stdio -i {path}", f"{xenoprof} report --children {path}"),
        ("folded", f"perf script -i {path} -F comm,ip,sym | python3 {this} --fold",
         f"{xenoprof} export {path} --format folded -o /dev/null"),
    ]
    script = shutil.which("stackcollapse-perf.pl")
    if script:
        pairs.append(("FlameGraph", f"perf script -i {path} | perl {script}", pairs[-1][2]))
    print(f"{os.path.getsize(path) / 1e6:.0f} MB")
    print(f"{'':12} {'time':>8} {'memory':>8}   (perf / xenoprof)")
    for name, theirs, ours in pairs:
        times, peaks = [], []
        for _ in range(ROUNDS):  # in turn, so that both meet the same machine
            (their_time, their_peak), (our_time, our_peak) = measure(theirs), measure(ours)
            times.append(their_time / our_time)
            peaks.append(their_peak / our_peak)
        print(f"{name:12} {statistics.median(times):8.1f} {statistics.median(peaks):8.1f}",
              flush=True)


if __name__ == "__main__":
    fold() if "--fold" in sys.argv else main()
