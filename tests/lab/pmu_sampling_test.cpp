// SPDX-License-Identifier: GPL-2.0-or-later
// Every event of the emulated PMU sampled: as many samples as the counts make, where they happened.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pmu_machine.h"

namespace xenoprof {
namespace {

struct Sampled {
  const char* loop;                 // of pmu_oracle: case, size, rounds
  std::vector<const char*> events;  // raw, at most four, of which the loop has plenty
};

// Of each event and vCPU ("" where it is not told apart).
struct Samples {
  int64_t number = 0;
  int64_t periods = 0;  // sum of what each sample stands for
};
using SamplesByEvent = std::map<std::pair<std::string, std::string>, Samples>;

const PmuMachine& machine() {
  return PmuMachine::shared("preset=family10h");
}

// A raw event with a period of its own. A name that begins like a raw event is not parsed.
std::string sampled(const std::string& event, int64_t period, const std::string& modifiers) {
  const auto code = std::stoul(event.substr(1), nullptr, 16);
  return fmt::format("-e cpu/event={:#x},umask={:#x},period={},name=event_{}/{} ", code & 0xff,
                     code >> 8, period, event, modifiers);
}

SamplesByEvent record(const std::string& options_and_command) {
  const auto recorded =
      machine().sh("perf record -q -B -N --sample-cpu -o /tmp/data " + options_and_command);
  EXPECT_EQ(recorded.status, 0) << recorded.err;
  // Such as "[000] 2003 event_r0146/uS:".
  constexpr std::size_t kPrefix = std::string_view("event_").size();
  const auto script = machine().sh("perf script -i /tmp/data -F cpu,period,event");
  SamplesByEvent samples;
  std::istringstream lines(script.out);
  for (std::string cpu, period, event; lines >> cpu >> period >> event;) {
    const auto name = event.substr(0, event.find_first_of(":/"));
    Samples& of = samples[{name.substr(std::min(kPrefix, name.size())), cpu}];
    of.number += 1;
    of.periods += std::atoll(period.c_str());
  }
  return samples;
}

class Sampling : public testing::TestWithParam<Sampled> {};

TEST_P(Sampling, SamplesTimesCountIsWhatWasCounted) {
  const auto& [loop, events] = GetParam();
  auto counts =
      machine().stat(fmt::format("-e {}:u pmu_oracle {}", fmt::join(events, ":u,"), loop));
  std::string wanted;
  std::map<std::string, int64_t> periods;
  for (const std::string event : events) {
    ASSERT_GT(counts[event + ":u"], 50'000) << event;
    periods[event] = counts[event + ":u"] * 2 / 41;  // the last one half over
    wanted += sampled(event, periods[event], "u");
  }
  std::map<std::string, int64_t> numbers;
  for (const auto& [key, samples] : record(fmt::format("{} pmu_oracle {}", wanted, loop))) {
    numbers[key.first] += samples.number;
  }
  for (const std::string event : events) {
    EXPECT_NEAR(numbers[event] * periods[event], counts[event + ":u"], periods[event]) << event;
  }
}

// With the counter read at each sample, perf's periods add up to what was counted on the vCPU.
TEST_P(Sampling, OnEveryVcpu) {
  const auto& [loop, events] = GetParam();
  constexpr int64_t kPeriod = 5003;
  std::string wanted;
  for (const std::string event : events) {
    wanted += sampled(event, kPeriod, "uS");
  }
  const auto all = record(fmt::format(
      "-i -a {0} sh -c 'taskset 1 pmu_oracle {1} & taskset 2 pmu_oracle {1}; wait'", wanted, loop));
  EXPECT_EQ(all.size(), 2 * events.size());
  for (const auto& [key, samples] : all) {
    EXPECT_GT(samples.number, 10) << key.first << key.second;
    EXPECT_NEAR(samples.number * kPeriod, samples.periods, kPeriod) << key.first << key.second;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Loops, Sampling,
    testing::Values(Sampled{"pages 640 150", {"rc0", "r76", "rc2", "r40"}},
                    Sampled{"pages 640 150", {"r41", "r0146", "r027d", "r047d"}},
                    Sampled{"pages 384 250", {"r0145"}}, Sampled{"large-pages 64 1500", {"r0245"}},
                    Sampled{"large-pages-every-8-MiB 64 1500", {"r0246"}},
                    Sampled{"lines-in-large-pages 10240 10", {"r027e"}},
                    Sampled{"code-pages 640 150", {"r80", "r81", "r0185", "r017d"}},
                    Sampled{"code-pages 384 250", {"r84"}},
                    Sampled{"code-large-pages 24 4000", {"r0285"}},
                    Sampled{"code-lines-in-large-pages 10240 10", {"r017e"}},
                    Sampled{"indirect 0 50000", {"rc3"}}));

// Interrupts come from outside a program, so they are sampled on the whole machine.
TEST(SamplingInterrupts, SamplesTimesCountIsWhatWasCounted) {
  constexpr int64_t kPeriod = 101;
  const auto all = record("-i -a " + sampled("rcf", kPeriod, "S") + "pmu_interrupts 4000");
  ASSERT_FALSE(all.empty());
  EXPECT_GT(all.begin()->second.number, 30);
  for (const auto& [key, samples] : all) {
    EXPECT_NEAR(samples.number * kPeriod, samples.periods, kPeriod) << key.second;
  }
}

TEST(SamplingPlaces, TwoFunctionsThatMissNineToOneAreSampledSo) {
  const auto recorded = machine().sh(
      "perf record -q -o /tmp/data -e dTLB-load-misses:u -c 101 pmu_oracle nine-to-one 640 50");
  ASSERT_EQ(recorded.status, 0) << recorded.err;
  std::istringstream lines(machine().sh("perf script -i /tmp/data -F ip,sym").out);
  std::map<std::string, double> samples;
  double sum = 0;
  for (std::string address, symbol; lines >> address >> symbol;) {
    samples[symbol] += 1;
    sum += 1;
  }
  ASSERT_GT(sum, 3'000);
  EXPECT_NEAR(samples["nine_of_ten"] / sum, 0.9, 0.03);
  EXPECT_NEAR(samples["one_of_ten"] / sum, 0.1, 0.03);
}

}  // namespace
}  // namespace xenoprof
