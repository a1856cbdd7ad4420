// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU against another simulator: valgrind's cachegrind runs the same static program
// (tests/programs/pmu_work.c) over first-level caches of the same geometry. It sees the program
// alone; in the machine the kernel's timer takes some of its lines.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "pmu_machine.h"

namespace xenoprof {
namespace {

struct Reference {
  const char* preset;
  const char* caches;  // cachegrind's options for them
};

// By cachegrind's names of its events: Ir, I1mr, D1mr, D1mw and others.
Counts cachegrind(const Reference& reference, const std::filesystem::path& scratch) {
  const auto out = scratch / "cachegrind.out";
  const auto command = fmt::format(
      "valgrind -q --tool=cachegrind --cache-sim=yes --cachegrind-out-file={} {} {}/bin/prog_"
      "pmu_work > {} 2>&1",
      out.string(), reference.caches, XENOPROF_BUILD, (scratch / "cachegrind.log").string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  Counts counts;
  std::ifstream file(out);
  std::istringstream events;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first == "events:") {
      events = std::move(words);
    } else if (first == "summary:") {
      std::string event;
      for (int64_t count = 0; events >> event && words >> count;) {
        counts[event] = count;
      }
    }
  }
  return counts;
}

class Cachegrind : public testing::TestWithParam<Reference> {};

TEST_P(Cachegrind, CountsTheSame) {
  ASSERT_EQ(std::system("valgrind --version > /dev/null"), 0)
      << "`lab/setup.sh valgrind` installs what is missing";
  const PmuMachine& machine = PmuMachine::shared(GetParam().preset);
  auto reference = cachegrind(GetParam(), machine.lab().scratch());
  ASSERT_GT(reference["Ir"], 100'000'000);
  auto counts = machine.stat("-e instructions:u,r0041:u,r0081:u pmu_work");
  const auto expect_near = [&](const char* what, int64_t counted, int64_t expected,
                               double tolerance) {
    EXPECT_NEAR(static_cast<double>(counted), static_cast<double>(expected),
                static_cast<double>(expected) * tolerance)
        << what;
    if (std::getenv("XENOPROF_TEST_TABLE") != nullptr) {
      std::printf("| %s | %s | %ld | %ld | %+.2f %% |\n", GetParam().preset, what, expected,
                  counted,
                  100.0 * static_cast<double>(counted - expected) / static_cast<double>(expected));
    }
  };
  expect_near("instructions", counts["instructions:u"], reference["Ir"], 0.001);
  expect_near("D1 misses", counts["r0041:u"], reference["D1mr"] + reference["D1mw"], 0.02);
  expect_near("I1 misses", counts["r0081:u"], reference["I1mr"], 0.02);
}

// cachegrind's last level plays no part in these counts.
INSTANTIATE_TEST_SUITE_P(
    Presets, Cachegrind,
    testing::Values(Reference{"preset=family10h",
                              "--I1=65536,2,64 --D1=65536,2,64 --LL=524288,16,64"},
                    Reference{"preset=paper", "--I1=16384,8,64 --D1=8192,4,64 --LL=524288,8,64"}));

}  // namespace
}  // namespace xenoprof
