// SPDX-License-Identifier: GPL-2.0-or-later
// callers MILLISECONDS: spends CPU time in leaf(), always with these callers: compare(), qsort() of
// the C library, 20 times descend(), main(). Compiled without frame pointers.
#include <time.h>

#include <cstdlib>

extern "C" {

volatile unsigned sink = 1;

static double seconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

[[gnu::noinline]] void leaf() {
  for (int i = 0; i < 200000; ++i) {
    sink = sink * 1664525 + 1013904223;
  }
}

[[gnu::noinline]] int compare(const void* one, const void* other) {
  leaf();
  return *static_cast<const int*>(one) - *static_cast<const int*>(other);
}

[[gnu::noinline]] void descend(int depth) {
  if (depth > 1) {
    descend(depth - 1);
  } else {
    int numbers[] = {2, 1};
    std::qsort(numbers, 2, sizeof numbers[0], compare);
  }
  sink = sink + 1;  // behind the call, which stays one
}
}

int main(int count, char** arguments) {
  const double time = count > 1 ? std::atof(arguments[1]) / 1000 : 0.1;
  for (const double end = seconds() + time; seconds() < end;) {
    descend(20);
  }
  return 0;
}
