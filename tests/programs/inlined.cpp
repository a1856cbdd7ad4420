// SPDX-License-Identifier: GPL-2.0-or-later
// Functions within functions within functions, for the tests of symbols.
#include <cstdio>

namespace {

volatile int memory;

struct Counter {
  [[gnu::always_inline]] inline int next(int step) {
    memory = memory + step;
    return memory;
  }
};

template <class Number>
[[gnu::always_inline]] inline Number square(Number number) {
  Counter counter;
  return number * counter.next(static_cast<int>(number));
}

[[gnu::noinline]] int alone(int number) {
  return memory ^ number;
}

}  // namespace

namespace outer {

[[gnu::always_inline]] inline int sum_of_squares(int one, int other) {
  int sum = square(one);
  if (other > 3) {
    sum += static_cast<int>(square(long{other}));
  }
  return sum;
}

[[gnu::noinline]] int work(int rounds) {
  int sum = 0;
  for (int round = 0; round < rounds; ++round) {
    sum += sum_of_squares(round, round + 1);
    sum += alone(round);
  }
  return sum;
}

}  // namespace outer

int main(int argc, char**) {
  std::printf("%d\n", outer::work(argc * 10));
}
