// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU's counts of loops whose events can be computed (tests/programs/pmu_oracle.c),
// with both presets. Sizes lie below and above each capacity; at the capacity itself the few
// accesses around the loop take part. XENOPROF_TEST_TABLE=1 prints the table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "pmu_machine.h"

namespace xenoprof {
namespace {

struct Oracle {
  const char* loop;  // case and size
  int64_t rounds;
  int64_t steps;                                         // of a round
  std::vector<std::pair<std::string, int64_t>> a_round;  // raw event, and how many of it
};

// What 0.1 % is of: the expected count, or of events that must not come the loop's steps.
int64_t tolerance(const Oracle& oracle, int64_t expected) {
  return std::max(expected, oracle.rounds * oracle.steps) / 1000;
}

void expect_counted(const char* preset, const Oracle& oracle) {
  std::vector<std::string> events;
  for (const auto& [event, times] : oracle.a_round) {
    events.push_back(event);
  }
  auto counts = PmuMachine::shared(preset).rounds(oracle.loop, oracle.rounds, events);
  for (const auto& [event, times] : oracle.a_round) {
    const int64_t expected = times * oracle.rounds;
    ASSERT_TRUE(counts.contains(event)) << event;
    EXPECT_NEAR(counts[event], expected, tolerance(oracle, expected)) << event;
    if (std::getenv("XENOPROF_TEST_TABLE") != nullptr) {
      std::printf("| %s | %s x %ld | %s | %ld | %ld |\n", preset, oracle.loop, oracle.rounds,
                  event.c_str(), expected, counts[event]);
    }
  }
}

class Family10h : public testing::TestWithParam<Oracle> {};
TEST_P(Family10h, CountsWhatTheLoopDoes) {
  expect_counted("preset=family10h", GetParam());
}

class Paper : public testing::TestWithParam<Oracle> {};
TEST_P(Paper, CountsWhatTheLoopDoes) {
  expect_counted("preset=paper", GetParam());
}

// A step of a chase is 3 instructions: 3 cycles, one access, one branch, one fetch. A round of
// code is a jump for each step and two instructions, one of them a branch, that count it.
//
// Cycles: 12 for what L2 has, 200 for what it lacks, 5 for the second level of TLB, 20 for a walk
// and 12 for its entry's line in L2, 12 for a misprediction.
INSTANTIATE_TEST_SUITE_P(
    Data, Family10h,
    testing::Values(
        // First level: 48 pages. Second: 512 in 4 ways.
        Oracle{"pages 40", 300, 40, {{"0145", 0}, {"0146", 0}, {"41", 0}, {"76", 40 * 3}}},
        Oracle{"pages 64", 75, 64, {{"0145", 64}, {"0146", 0}, {"41", 0}, {"76", 64 * (3 + 5)}}},
        // A line of each page, in 64 sets of L1D: more than it has ways.
        Oracle{"pages 384",
               12,
               384,
               {{"0145", 384}, {"0146", 0}, {"41", 384}, {"76", 384 * (3 + 5 + 12)}}},
        Oracle{"pages 640",
               8,
               640,
               {{"c0", 640 * 3},
                {"c2", 640},
                {"c3", 0},
                {"40", 640},
                {"80", 640},
                {"81", 0},
                {"0145", 0},
                {"0146", 640},
                {"41", 640},
                {"047d", 640},
                {"047e", 0},
                {"76", 640 * (3 + 20 + 12 + 12)}}},
        // 2 MiB pages: 48 in the first level, 128 in 2 ways in the second, of which
        // one page in 8 MiB finds 32.
        Oracle{"large-pages 40", 300, 40, {{"0145", 0}, {"0245", 0}, {"0246", 0}, {"76", 40 * 3}}},
        Oracle{"large-pages 64",
               75,
               64,
               {{"0145", 0}, {"0245", 64}, {"0246", 0}, {"76", 64 * (3 + 5)}}},
        Oracle{"large-pages-every-8-MiB 64",
               75,
               64,
               {{"0146", 0}, {"0245", 0}, {"0246", 64}, {"76", 64 * (3 + 20 + 12)}}},
        // L1D: 1024 lines, 2 ways of 32 KiB.
        Oracle{"lines 512", 23, 512, {{"41", 0}, {"027d", 0}, {"0145", 0}, {"76", 512 * 3}}},
        Oracle{"lines 2048",
               2,
               2048,
               {{"41", 2048}, {"027d", 2048}, {"027e", 0}, {"76", 2048 * (3 + 12)}}},
        Oracle{"stride-32768 2", 6000, 2, {{"41", 0}, {"0145", 0}, {"76", 2 * 3}}},
        Oracle{"stride-32768 3", 1600, 3, {{"41", 3}, {"0145", 0}, {"76", 3 * (3 + 12)}}},
        // L2: 8192 lines, found by physical address.
        Oracle{"lines-in-large-pages 4096",
               2,
               4096,
               {{"0245", 0}, {"027d", 4096}, {"027e", 0}, {"76", 4096 * (3 + 12)}}},
        Oracle{"lines-in-large-pages 10240",
               1,
               10240,
               {{"0245", 0}, {"027d", 10240}, {"027e", 10240}, {"76", 10240 * (3 + 200)}}}));

INSTANTIATE_TEST_SUITE_P(
    Code, Family10h,
    testing::Values(
        // First level: 32 pages. Second: 512 in 4 ways.
        Oracle{"code-pages 24", 3000, 24, {{"84", 0}, {"0185", 0}, {"81", 0}, {"76", 26}}},
        Oracle{"code-pages 64", 250, 64, {{"84", 64}, {"0185", 0}, {"81", 0}, {"76", 66 + 64 * 5}}},
        Oracle{"code-pages 384",
               12,
               384,
               {{"84", 384}, {"0185", 0}, {"81", 384}, {"76", 386 + 384 * (5 + 12)}}},
        Oracle{"code-pages 640",
               8,
               640,
               {{"c0", 642},
                {"c2", 641},
                {"c3", 0},
                {"40", 0},
                {"80", 641},
                {"41", 0},
                {"84", 0},
                {"0185", 640},
                {"81", 640},
                {"017d", 640},
                {"047d", 640},
                {"76", 642 + 640 * (20 + 12 + 12)}}},
        // 2 MiB pages: 16, and no second level.
        Oracle{"code-large-pages 8", 9000, 8, {{"84", 0}, {"0185", 0}, {"0285", 0}, {"76", 10}}},
        Oracle{"code-large-pages 24",
               200,
               24,
               {{"84", 0}, {"0185", 0}, {"0285", 24}, {"76", 26 + 24 * (20 + 12)}}},
        Oracle{"code-lines 512", 141, 512, {{"81", 0}, {"017d", 0}, {"84", 0}, {"76", 514}}},
        Oracle{"code-lines 1536",
               3,
               1536,
               {{"81", 1536}, {"017d", 1536}, {"017e", 0}, {"76", 1538 + 1536 * 12}}},
        Oracle{"code-lines-in-large-pages 10240",
               1,
               10240,
               {{"81", 10240}, {"017d", 10240}, {"017e", 10240}, {"76", 10242 + 10240 * 200}}}));

// A loop of 20 is left once; 34 calls into a return stack of 24; two targets in turn.
INSTANTIATE_TEST_SUITE_P(
    Branches, Family10h,
    testing::Values(Oracle{"inner-loop 20",
                           1000,
                           20,
                           {{"c0", 43}, {"c2", 21}, {"80", 21}, {"c3", 1}, {"76", 43 + 12}}},
                    Oracle{
                        "deep-calls 34",
                        500,
                        34,
                        {{"c0", 139}, {"c2", 103}, {"40", 68}, {"c3", 11}, {"76", 139 + 11 * 12}}},
                    Oracle{"indirect 0",
                           2400,
                           2,
                           {{"c0", 9}, {"c2", 4}, {"40", 0}, {"c3", 2}, {"76", 9 + 2 * 12}}}));

// One level of 64 entries for pages of any size; L1D of 128 lines in 4 ways, L2 of 8192 in 8. Of
// the lines of 320 pages at most 5 can meet in a set of L2, wherever the pages are. Cycles: 7 for
// what L2 has, 240 for what it lacks, 25 for a walk and 7 for its entry's line, 20 for a
// misprediction.
INSTANTIATE_TEST_SUITE_P(
    Data, Paper,
    testing::Values(
        Oracle{"pages 48", 250, 48, {{"0145", 0}, {"0146", 0}, {"41", 0}, {"76", 48 * 3}}},
        Oracle{"pages 96",
               50,
               96,
               {{"0145", 0}, {"0146", 96}, {"41", 0}, {"047d", 96}, {"76", 96 * (3 + 25 + 7)}}},
        Oracle{"pages 320",
               15,
               320,
               {{"c0", 320 * 3},
                {"c2", 320},
                {"c3", 0},
                {"40", 320},
                {"80", 320},
                {"81", 0},
                {"0145", 0},
                {"0146", 320},
                {"41", 320},
                {"047d", 320},
                {"047e", 0},
                {"76", 320 * (3 + 25 + 7 + 7)}}},
        Oracle{"large-pages 48", 250, 48, {{"0245", 0}, {"0146", 0}, {"0246", 0}, {"76", 48 * 3}}},
        Oracle{"large-pages 96",
               50,
               96,
               {{"0245", 0}, {"0146", 0}, {"0246", 96}, {"76", 96 * (3 + 25 + 7)}}},
        Oracle{"lines 64", 188, 64, {{"41", 0}, {"027d", 0}, {"0146", 0}, {"76", 64 * 3}}},
        Oracle{
            "lines 256", 19, 256, {{"41", 256}, {"027d", 256}, {"027e", 0}, {"76", 256 * (3 + 7)}}},
        Oracle{"stride-2048 3", 4000, 3, {{"41", 0}, {"0146", 0}, {"76", 3 * 3}}},
        Oracle{"stride-2048 5", 960, 5, {{"41", 5}, {"0146", 0}, {"76", 5 * (3 + 7)}}},
        Oracle{"lines-in-large-pages 4096",
               2,
               4096,
               {{"0246", 0}, {"027d", 4096}, {"027e", 0}, {"76", 4096 * (3 + 7)}}},
        Oracle{"lines-in-large-pages 10240",
               1,
               10240,
               {{"0246", 0}, {"027d", 10240}, {"027e", 10240}, {"76", 10240 * (3 + 240)}}}));

// 16 KiB of code in 8 ways.
INSTANTIATE_TEST_SUITE_P(
    Code, Paper,
    testing::Values(
        Oracle{"code-pages 48", 1500, 48, {{"84", 0}, {"0185", 0}, {"81", 0}, {"76", 50}}},
        Oracle{"code-pages 96",
               50,
               96,
               {{"84", 0}, {"0185", 96}, {"81", 0}, {"76", 98 + 96 * (25 + 7)}}},
        Oracle{"code-pages 320",
               15,
               320,
               {{"c0", 322},
                {"c2", 321},
                {"c3", 0},
                {"40", 0},
                {"80", 321},
                {"41", 0},
                {"84", 0},
                {"0185", 320},
                {"81", 320},
                {"017d", 320},
                {"047d", 320},
                {"76", 322 + 320 * (25 + 7 + 7)}}},
        Oracle{"code-large-pages 48", 1500, 48, {{"84", 0}, {"0185", 0}, {"0285", 0}, {"76", 50}}},
        Oracle{"code-large-pages 96",
               50,
               96,
               {{"84", 0}, {"0185", 0}, {"0285", 96}, {"76", 98 + 96 * (25 + 7)}}},
        Oracle{"code-lines 128", 562, 128, {{"81", 0}, {"017d", 0}, {"84", 0}, {"76", 130}}},
        Oracle{"code-lines 512",
               30,
               512,
               {{"81", 512}, {"017d", 512}, {"017e", 0}, {"76", 514 + 512 * 7}}},
        Oracle{"code-lines-in-large-pages 10240",
               1,
               10240,
               {{"81", 10240}, {"017d", 10240}, {"017e", 10240}, {"76", 10242 + 10240 * 240}}}));

// 34 calls into a return stack of 16.
INSTANTIATE_TEST_SUITE_P(
    Branches, Paper,
    testing::Values(Oracle{"inner-loop 20",
                           1000,
                           20,
                           {{"c0", 43}, {"c2", 21}, {"80", 21}, {"c3", 1}, {"76", 43 + 20}}},
                    Oracle{
                        "deep-calls 34",
                        500,
                        34,
                        {{"c0", 139}, {"c2", 103}, {"40", 68}, {"c3", 19}, {"76", 139 + 19 * 20}}},
                    Oracle{"indirect 0",
                           2400,
                           2,
                           {{"c0", 9}, {"c2", 4}, {"40", 0}, {"c3", 2}, {"76", 9 + 2 * 20}}}));

// perf's own names reach the same events.
TEST(StockPerf, CountsTheSameByItsOwnNames) {
  const PmuMachine& machine = PmuMachine::shared("preset=family10h");
  const std::string events =
      "-e '{dTLB-load-misses:u,L1-dcache-load-misses:u,cache-references:u,branches:u}' ";
  // Many rounds: what starting a process counts differs by a hundred or more from run to run, as
  // its pages do.
  auto full = machine.stat(events + "pmu_oracle pages 640 3000");
  auto empty = machine.stat(events + "pmu_oracle pages 640 0");
  constexpr double kSteps = 640 * 3000;
  // perf prints some names without their modifier.
  for (const std::string event : {"dTLB-load-misses", "L1-dcache-load-misses", "branches:u"}) {
    EXPECT_NEAR(full[event] - empty[event], kSteps, kSteps / 1000) << event;
  }
  EXPECT_NEAR(full["cache-references:u"] - empty["cache-references:u"], 2 * kSteps, kSteps / 500);
}

// tests/programs/pmu_interrupts.c counts those that came while it ran, and has the kernel's word.
TEST(Interrupts, AreThoseThatTheKernelSaw) {
  const auto result = PmuMachine::shared("preset=family10h").sh("pmu_interrupts 5000");
  std::istringstream words(result.out);
  int64_t seen = 0;
  int64_t without_looks = 0;
  int64_t with_looks = 0;
  words >> seen >> without_looks >> with_looks;
  EXPECT_GE(seen, 5000) << result.err;
  EXPECT_LE(without_looks, seen + seen / 1000);
  EXPECT_GE(with_looks, seen - seen / 1000);
  EXPECT_LT(with_looks - without_looks, seen / 50);
}

}  // namespace
}  // namespace xenoprof
