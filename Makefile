# SPDX-License-Identifier: GPL-2.0-or-later
# Two commands for a fresh machine: `make demo` and `make test`. Both set up what they need.
.PHONY: all configure build setup demo demo-kvm demo-linux test test-all bench-pmu bench-record bench-report clean

JOBS ?= $(shell nproc)
WERROR ?= $(or $(XENOPROF_WERROR),OFF)

all: build

# Debian packages that the build needs; asks for sudo only when some are missing.
setup:
	@lab/setup.sh

configure: setup
	cmake --preset release -DXENOPROF_WERROR=$(WERROR)

build: configure
	cmake --build build -j $(JOBS) --target programs

demo: build
	lab/demo.sh xen

demo-kvm: build
	lab/demo.sh kvm

demo-linux: build
	lab/demo_linux.sh

# Tests that need no machine first, then those that take this machine's perf; the lab's take the
# whole machine each.
test: configure
	cmake --build build -j $(JOBS)
	ctest --test-dir build -L unit -j $(JOBS) --output-on-failure
	ctest --test-dir build -L host --output-on-failure
	ctest --test-dir build -L fuzz --output-on-failure
	ctest --test-dir build -L lab -j 1 --output-on-failure

# With what takes long, or a browser, valgrind or other programs to compare with.
test-all: test
	@lab/setup.sh long
	cmake --preset release -DXENOPROF_LONG_TESTS=ON
	cmake --build build -j $(JOBS)
	ctest --test-dir build -L long -j 1 --output-on-failure

# What the emulated PMU costs, in ratios; half an hour.
bench-pmu: build
	bench/pmu.sh

# What a sample costs, in instructions: xenoprof record and perf record on the emulated machine.
bench-record: build
	bench/record.sh

# xenoprof and perf side by side on a large recording; see docs/report-speed.md.
bench-report: build
	bench/report.py build

clean:
	rm -rf build
