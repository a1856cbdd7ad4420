// SPDX-License-Identifier: GPL-2.0-or-later
// A library for busy.cpp to load, built twice with functions of different names.
#include <time.h>

namespace {

volatile unsigned sink = 1;

double used() {
  timespec now = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

[[gnu::noinline]] void BUSY_FUNCTION() {
  for (int i = 0; i < 20000; ++i) {
    sink = sink * 1664525 + 1013904223;
  }
}

extern "C" void work(double time) {
  for (const double end = used() + time; used() < end;) {
    BUSY_FUNCTION();
  }
}
