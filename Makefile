# SPDX-License-Identifier: GPL-2.0-or-later
# Two commands for a fresh machine: `make demo` and `make test`. Both set up what they need.
.PHONY: all configure build setup demo test test-all clean

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
	lab/demo.sh

# Tests that need no machine first; the lab's take the whole machine each.
test: configure
	cmake --build build -j $(JOBS)
	ctest --test-dir build -L unit -j $(JOBS) --output-on-failure
	ctest --test-dir build -L lab -j 1 --output-on-failure

# With what takes long: every event sampled, another simulator's counts, flushes under Xen, and perf
# with vCPUs that come and go.
test-all: test
	@lab/setup.sh valgrind
	ctest --test-dir build -L long -j 1 --output-on-failure

clean:
	rm -rf build
