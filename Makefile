# SPDX-License-Identifier: GPL-2.0-or-later
# Two commands for a fresh machine: `make demo` and `make test`. Both set up what they need.
.PHONY: all configure build setup demo demo-kvm demo-linux test tests test-unit test-host test-fuzz \
  test-lab test-all bench-pmu bench-record bench-report clean

JOBS ?= $(shell nproc)
WERROR ?= $(or $(XENOPROF_WERROR),OFF)

all: build

# Debian packages that the build needs; asks for sudo only when some are missing.
setup:
	@lab/setup.sh

configure: setup
	cmake --preset release -DXENOPROF_WERROR=$(WERROR)

build: configure
	@echo "make: building the programs into build/: about 3 minutes on 2 cores, the first time"
	cmake --build build -j $(JOBS) --target programs

demo: build
	@echo "make: an emulated Xen host with two guests, and a session of 10 s: about 4 minutes"
	lab/demo.sh xen

demo-kvm: build
	lab/demo.sh kvm

demo-linux: build
	lab/demo_linux.sh

# Tests that need no machine first, then those that take this machine's perf; the lab's take the
# whole machine each. `make test-unit` and so on run one kind; `make -k test` goes on after a failure.
test: test-unit test-host test-fuzz test-lab

test-unit: about = a minute
test-host: about = a minute
test-fuzz: about = a minute
test-lab: about = 20 minutes
test-unit test-host test-fuzz test-lab: test-%: tests
	@echo "make: the tests of kind $*: about $(about)"
	ctest --test-dir build -L $* $(if $(filter unit,$*),-j $(JOBS)) --output-on-failure \
	  --output-junit Testing/$*.xml --test-output-size-passed 10000000

tests: configure
	@echo "make: building programs and tests into build/: about 6 minutes on 2 cores, the first time"
	cmake --build build -j $(JOBS)

# With what takes long, or valgrind or other programs to compare with: one entry after the other,
# those that have not passed yet for this commit. AGAIN=1 begins anew.
test-all: configure
	@lab/setup.sh long
	tests/long.sh $(if $(AGAIN),--again)

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

# The recipes share one build folder.
.NOTPARALLEL:
