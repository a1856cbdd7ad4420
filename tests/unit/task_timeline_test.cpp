// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/task_timeline.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <string>
#include <vector>

#include "perf/record_fields.h"
#include "perf/record_parser.h"

namespace xenoprof {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kKernelPc = 0xffffffff81000000;

class TaskTimelineTest : public testing::Test {
 protected:
  // As the kernel writes it: what comes next when a task is switched out, else what was before, and
  // the task itself in the trailer (linux/perf_event.h).
  std::vector<std::byte> switched(bool out, std::uint64_t time, std::uint32_t cpu, int tid,
                                  int other) {
    std::vector<std::byte> record;
    perf::put(record, perf_event_header{.type = PERF_RECORD_SWITCH_CPU_WIDE,
                                        .misc = out ? std::uint16_t{PERF_RECORD_MISC_SWITCH_OUT}
                                                    : std::uint16_t{0},
                                        .size = 48});
    perf::put(record, perf::SwitchFields{.pid = other, .tid = other});
    perf::put(record, perf::SwitchFields{.pid = tid, .tid = tid});
    perf::put(record, time);
    perf::put(record, std::uint64_t{cpu});
    perf::put(record, std::uint64_t{perf::kSidebandId});
    return record;
  }
  void runs(std::uint64_t time, std::uint32_t cpu, int tid) {
    timeline_.add(switched(false, time, cpu, tid, 0));
  }
  void sample(std::uint64_t time, std::uint32_t cpu, std::uint64_t ip = 0x1000) {
    timeline_.add({.time = time, .ip = ip, .cpu = cpu, .event = 0});
  }
  // What has come out so far: "time tid", "comm NAME".
  std::vector<std::string> hand_out(std::uint64_t time) {
    std::vector<std::string> out;
    timeline_.hand_out(time, [&](std::uint16_t domain, perf::Bytes bytes) {
      EXPECT_EQ(domain, perf::kOwnDomain);
      const auto record = parser_.parse(bytes);
      ASSERT_TRUE(record) << record.error().message;
      if (const auto* sample = std::get_if<perf::SampleRecord>(&record->body)) {
        out.push_back(fmt::format("{} {}{}", record->time, sample->tid,
                                  sample->user ? "" : " in the kernel"));
      } else if (const auto* comm = std::get_if<perf::CommRecord>(&record->body)) {
        out.push_back(fmt::format("comm {}", comm->name));
      } else {
        out.push_back("something else");
      }
    });
    return out;
  }

  const perf::Layout layout_ = {.events = {{"instructions", 1000}}};
  perf::RecordBuilder builder_{layout_};
  perf::RecordParser parser_{layout_};
  TaskTimeline timeline_{layout_};
};

TEST_F(TaskTimelineTest, ASampleIsOfWhoRanOnItsCpuThen) {
  runs(100, 0, 7);
  runs(100, 1, 8);
  runs(200, 0, 9);
  sample(150, 0);
  sample(150, 1);
  sample(200, 0);
  sample(250, 1, kKernelPc);
  EXPECT_THAT(hand_out(1000), ElementsAre("150 7", "150 8", "200 9", "250 8 in the kernel"));
  EXPECT_EQ(timeline_.late(), 0u);
}

TEST_F(TaskTimelineTest, FromTheEndOfOneTaskTheNextRuns) {
  runs(100, 0, 7);
  timeline_.add(switched(true, 200, 0, 7, 9));
  sample(201, 0);
  EXPECT_THAT(hand_out(1000), ElementsAre("201 9"));
}

TEST_F(TaskTimelineTest, WaitsForWhatIsYounger) {
  runs(100, 0, 7);
  sample(150, 0);
  runs(200, 0, 9);
  sample(250, 0);
  EXPECT_THAT(hand_out(160), ElementsAre("150 7"));
  EXPECT_THAT(hand_out(249), IsEmpty());
  EXPECT_THAT(hand_out(250), ElementsAre("250 9"));
}

TEST_F(TaskTimelineTest, OtherRecordsKeepTheirPlace) {
  timeline_.add(builder_.comm(0, 7, 7, "before", false));
  runs(100, 0, 7);
  timeline_.add(builder_.comm(200, 7, 7, "after", true));
  sample(150, 0);
  sample(250, 0);
  EXPECT_THAT(hand_out(1000), ElementsAre("comm before", "150 7", "comm after", "250 7"));
}

// With a call chain, whose end is no time.
TEST_F(TaskTimelineTest, SamplesOfItsOwnKeepTheirPlace) {
  const perf::Layout layout{.events = layout_.events, .call_chains = true};
  perf::RecordBuilder builder(layout);
  parser_ = perf::RecordParser(layout);
  timeline_ = TaskTimeline(layout);
  const std::vector<std::uint64_t> chain = {PERF_CONTEXT_USER, 0x1000, 1, 2, 3, 4};
  runs(100, 0, 7);
  timeline_.add(builder.sample(180, 0, Mode::kUser, 0x1000, 9, 9, 1, chain));
  sample(150, 0);
  sample(190, 0);
  EXPECT_THAT(hand_out(170), ElementsAre("150 7"));
  EXPECT_THAT(hand_out(1000), ElementsAre("180 9", "190 7"));
}

TEST_F(TaskTimelineTest, BeforeTheFirstSwitchOfACpuNobodyIsKnown) {
  sample(50, 3);
  sample(60, 3);
  EXPECT_THAT(hand_out(1000), ElementsAre("comm [unknown]", "50 -1", "60 -1"));
  EXPECT_EQ(timeline_.unknown(), 2u);
}

TEST_F(TaskTimelineTest, AfterLostSwitchesNobodyIsKnownUntilTheNext) {
  runs(100, 0, 7);
  runs(100, 1, 8);
  timeline_.add(builder_.lost(120, 1, perf::event_id(0), 5));  // samples
  timeline_.add(builder_.lost(150, 0, perf::kSidebandId, 5));
  runs(200, 0, 9);
  sample(140, 0);
  sample(160, 0);
  sample(160, 1);
  sample(250, 0);
  EXPECT_THAT(hand_out(1000), ElementsAre("something else", "140 7", "something else",
                                          "comm [unknown]", "160 -1", "160 8", "250 9"));
  EXPECT_EQ(timeline_.unknown(), 1u);
}

TEST_F(TaskTimelineTest, OnACpuThatThisSystemDoesNotKnowNobodyRan) {
  runs(100, 2, 7);
  timeline_.add({.time = 150, .ip = 0x1000, .cpu = 2, .event = 0, .known_cpu = false});
  sample(160, 2);
  EXPECT_THAT(hand_out(1000), ElementsAre("comm [unknown]", "150 -1", "160 7"));
}

TEST_F(TaskTimelineTest, LateSamplesAreCountedAndNotLost) {
  runs(100, 0, 7);
  runs(200, 0, 9);
  EXPECT_THAT(hand_out(300), IsEmpty());
  sample(150, 0);
  EXPECT_THAT(hand_out(300), ElementsAre("150 9"));
  EXPECT_EQ(timeline_.late(), 1u);
}

TEST_F(TaskTimelineTest, WhatWaitsIsKnown) {
  runs(100, 0, 7);
  const std::size_t record = timeline_.waiting();
  EXPECT_GT(record, 0u);
  sample(150, 0);
  sample(~std::uint64_t{0}, 0);
  EXPECT_EQ(timeline_.waiting(), record + 2 * sizeof(OutsideSample));
  hand_out(1000);
  EXPECT_EQ(timeline_.waiting(), sizeof(OutsideSample));
}

TEST_F(TaskTimelineTest, AbsurdCpusAreHarmless) {
  runs(100, 0xffffffff, 7);
  sample(150, 0xffffffff);
  EXPECT_THAT(hand_out(1000), ElementsAre("comm [unknown]", "150 -1"));
}

}  // namespace
}  // namespace xenoprof
