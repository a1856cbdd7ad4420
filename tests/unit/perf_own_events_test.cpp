// SPDX-License-Identifier: GPL-2.0-or-later
// The recorder with perf's own events. Page faults, one sample each, are exact: a page that is
// touched for the first time is one.
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "open_file.h"
#include "perf/data_file.h"
#include "perf/data_reader.h"
#include "perf/record_parser.h"
#include "perf/recorder.h"
#include "perf/ring_reader.h"
#include "temporary_folder.h"

namespace xenoprof::perf {
namespace {

constexpr std::size_t kPage = 4096;

// Each touches its own pages once.
[[gnu::noipa]] void touch(std::size_t pages) {
  void* const memory =
      ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ::madvise(memory, pages * kPage, MADV_NOHUGEPAGE);
  auto* const bytes = static_cast<volatile char*>(memory);
  for (std::size_t page = 0; page < pages; ++page) {
    bytes[page * kPage] = 1;
  }
  ::munmap(memory, pages * kPage);
}

bool is_in_touch(std::uint64_t pc) {
  const auto start = reinterpret_cast<std::uint64_t>(&touch);
  return pc >= start && pc < start + 512;
}

class PerfOwnEvents : public testing::Test {
 protected:
  // Of this thread and what it begins.
  std::optional<Recorder> open(std::initializer_list<const char*> events) {
    for (const char* text : events) {
      auto event = find_counted_event(text, kFrequency);
      EXPECT_TRUE(event) << event.error().message;
      event->counting.exclude_kernel = true;
      options_.layout.events.push_back(event->event);
      options_.layout.countings.push_back(event->counting);
    }
    options_.threads = {::gettid()};
    parser_.emplace(options_.layout);
    auto recorder = Recorder::open(options_);
    if (!recorder) {
      why_not_ = recorder.error().message;
      return std::nullopt;
    }
    return std::move(*recorder);
  }

  Sink sink() {
    return [this](std::uint16_t domain, Bytes bytes) {
      EXPECT_EQ(domain, kOwnDomain);
      const auto record = parser_->parse(bytes);
      ASSERT_TRUE(record) << record.error().message;
      if (const auto* sample = std::get_if<SampleRecord>(&record->body)) {
        ++samples_[sample->event];
        touches_ += is_in_touch(sample->ip) ? 1 : 0;
        processes_[sample->pid] += 1;
        EXPECT_TRUE(sample->user);
      }
    };
  }

  static constexpr std::uint64_t kFrequency = 1000;
  RecorderOptions options_;
  std::optional<RecordParser> parser_;
  std::string why_not_;
  std::map<std::size_t, std::uint64_t> samples_;  // by event
  std::uint64_t touches_ = 0;
  std::map<std::int32_t, std::uint64_t> processes_;
};

TEST_F(PerfOwnEvents, EachCountIsASample) {
  auto recorder = open({"page-faults:10"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  ASSERT_TRUE(recorder->start(sink()));
  touch(1000);
  recorder->stop(sink());
  EXPECT_NEAR(static_cast<double>(touches_), 100, 1);  // a fault of other code may be a tenth
  EXPECT_EQ(recorder->losses().samples, 0u);
}

TEST_F(PerfOwnEvents, WhatAThreadBeginsBelongsToIt) {
  auto recorder = open({"page-faults:1"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  ASSERT_TRUE(recorder->start(sink()));
  const pid_t child = ::fork();
  if (child == 0) {
    touch(500);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  recorder->stop(sink());
  EXPECT_GE(processes_[child], 500u);
  EXPECT_NEAR(static_cast<double>(touches_), 500, 2);  // and of its code and stack
}

// Two events that are told to perf apart: two of one software event that overflow at once get the
// same identifier (seen with Linux 6.18).
TEST_F(PerfOwnEvents, WhatFindsNoRoomIsCountedByEvent) {
  options_.sample_ring_bytes = kPage;
  auto recorder = open({"page-faults:1", "minor-faults:2"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  ASSERT_TRUE(recorder->start(sink()));
  touch(3000);
  recorder->stop(sink());
  const RecorderLosses losses = recorder->losses();
  if (losses.samples != 0 && losses.of_event[0] == 0) {
    GTEST_SKIP() << "this kernel does not count by event";
  }
  EXPECT_GT(losses.samples, 3000u);
  EXPECT_EQ(losses.of_event[0] + losses.of_event[1], losses.samples);
  const std::uint64_t taken = samples_[0] + losses.of_event[0];
  EXPECT_GE(taken, 3000u);
  EXPECT_LT(taken, 3100u);  // and some of the test's own
  EXPECT_NEAR(static_cast<double>(samples_[1] + losses.of_event[1]), static_cast<double>(taken) / 2,
              1);
}

TEST_F(PerfOwnEvents, ALossIsToldWhereItBegan) {
  options_.sample_ring_bytes = kPage;
  auto recorder = open({"page-faults:1"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  std::uint64_t last = 0;  // sample's time
  int losses = 0;
  const auto take = [&](std::uint16_t, Bytes bytes) {
    const auto record = parser_->parse(bytes);
    ASSERT_TRUE(record) << record.error().message;
    if (std::holds_alternative<LostRecord>(record->body)) {
      ++losses;
      EXPECT_EQ(record->time, last);
    } else if (std::holds_alternative<SampleRecord>(record->body)) {
      last = record->time;
    }
  };
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &here);
  cpu_set_t before;
  ::sched_getaffinity(0, sizeof before, &before);
  ::sched_setaffinity(0, sizeof here, &here);
  ASSERT_TRUE(recorder->start([](std::uint16_t, Bytes) {}));
  touch(500);
  ::usleep(50'000);
  recorder->drain(take);
  touch(5);
  recorder->stop(take);
  ::sched_setaffinity(0, sizeof before, &before);
  EXPECT_EQ(losses, 1);
}

TEST_F(PerfOwnEvents, AThreadThatHasEndedIsLeftOut) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  if (!open({"page-faults:1", "minor-faults:1"})) {
    GTEST_SKIP() << why_not_;
  }
  options_.threads = {child, ::gettid(), child};
  auto recorder = Recorder::open(options_);
  ASSERT_TRUE(recorder) << recorder.error().message;
  ASSERT_TRUE(recorder->start(sink()));
  touch(100);
  recorder->stop(sink());
  EXPECT_EQ(touches_, 200u);
  options_.threads = {child};
  recorder = Recorder::open(options_);
  ASSERT_FALSE(recorder);
  EXPECT_NE(recorder.error().message.find("ended"), std::string::npos);
}

// An ordinary user's memory for perf is 516 KiB for each CPU, and what RLIMIT_MEMLOCK adds.
TEST_F(PerfOwnEvents, RingsOfAllCpusFitIntoWhatAUserMayLock) {
  constexpr uid_t kNobody = 65534;
  constexpr int kCannot = 77;
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit none{};
    if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0 ||
        (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) ||
        ::prctl(PR_SET_DUMPABLE, 1) != 0) {
      ::_exit(kCannot);
    }
    options_.sample_ring_bytes = kPage;
    options_.sideband_ring_bytes = kPage;
    if (!open({"page-faults:1"})) {
      ::_exit(kCannot);
    }
    options_.sample_ring_bytes = std::size_t{8} << 20;
    options_.sideband_ring_bytes = std::size_t{2} << 20;
    ::_exit(Recorder::open(options_) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == kCannot) {
    GTEST_SKIP() << "users may not record themselves here";
  }
  EXPECT_EQ(status, 0);
}

TEST_F(PerfOwnEvents, ReadsWhileItsOwnerIsBusy) {
  constexpr int kTimes = 6;
  constexpr int kAtOnce = 300;
  options_.sample_ring_bytes = 16 * kPage;  // room for a thousand samples or so, of 1800
  auto recorder = open({"page-faults:1"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  RingReader reader(std::move(*recorder));
  ASSERT_TRUE(reader.start(sink()));
  for (int i = 0; i < kTimes; ++i) {
    touch(kAtOnce);
    ::usleep(100'000);
  }
  reader.stop();
  while (reader.drain(sink())) {
  }
  EXPECT_EQ(reader.losses().samples, 0u);
  EXPECT_EQ(touches_, static_cast<std::uint64_t>(kTimes * kAtOnce));
}

TEST_F(PerfOwnEvents, WhatComesAfterTheEndIsNotRecordedHoweverMuchIsLeftToTake) {
  auto recorder = open({"page-faults:1"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  RingReader reader(std::move(*recorder));
  ASSERT_TRUE(reader.start(sink()));
  touch(1000);
  reader.stop();
  touch(500);
  while (reader.drain(sink())) {
  }
  EXPECT_EQ(touches_, 1000u);
}

TEST_F(PerfOwnEvents, WhatItsOwnerDoesNotTakeIsNotKeptWithoutEnd) {
  options_.sample_ring_bytes = kPage;
  auto recorder = open({"page-faults:1"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  RingReader reader(std::move(*recorder), 1);
  ASSERT_TRUE(reader.start(sink()));
  touch(1000);
  ::usleep(200'000);  // for what there is to be read
  touch(3000);
  reader.stop();
  while (reader.drain(sink())) {
  }
  EXPECT_GT(reader.losses().samples, 2000u);
  const std::uint64_t taken = samples_[0] + reader.losses().samples;
  EXPECT_GE(taken, 4000u);
  EXPECT_LT(taken, 4200u);  // and some of the test's own
}

TEST_F(PerfOwnEvents, SamplesByFrequencyComeAboutAsOften) {
  auto recorder = open({"cpu-clock"});
  if (!recorder) {
    GTEST_SKIP() << why_not_;
  }
  ASSERT_TRUE(recorder->start(sink()));
  const std::clock_t end = std::clock() + CLOCKS_PER_SEC / 10;
  while (std::clock() < end) {
    for (volatile int i = 0; i < 1'000'000;) {
      i = i + 1;
    }
  }
  recorder->stop(sink());
  EXPECT_GT(samples_[0], 50u);
  EXPECT_LT(samples_[0], 150u);
}

TEST_F(PerfOwnEvents, TheFileSaysWhatWasCounted) {
  const auto faults = find_counted_event("page-faults:7", 0);
  const auto clock = find_counted_event("cpu-clock", kFrequency);
  const auto raw = find_counted_event("r1c0:u:5", 0);
  ASSERT_TRUE(faults && clock && raw);
  EXPECT_EQ(raw->counting.config, 0x1c0u);
  EXPECT_TRUE(raw->counting.exclude_kernel);
  EXPECT_FALSE(raw->counting.exclude_user);
  const Layout layout{.events = {faults->event, clock->event, raw->event},
                      .call_chains = true,
                      .countings = {faults->counting, clock->counting, raw->counting}};
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("own_events." + std::to_string(::getpid()));
  auto writer = DataWriter::create(new_file(path), path, layout);
  ASSERT_TRUE(writer) << writer.error().message;
  RecordBuilder builder(layout);
  ASSERT_TRUE(writer->write(builder.comm(0, 1, 1, "init", false)));
  ASSERT_TRUE(writer->finish({}));
  const auto reader = DataReader::open(path);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->layout().events,
            (std::vector<Event>{{"page-faults", 7}, {"cpu-clock", 1'000'000}, {"r1c0:u", 5}}));
  EXPECT_TRUE(reader->layout().call_chains);
  std::filesystem::remove(path);
}

TEST_F(PerfOwnEvents, CyclesHaveTheCountOfABusyCpu) {
  const auto cycles = find_counted_event("cycles:u", kFrequency);
  const auto counted = find_counted_event("cycles:4711", kFrequency);
  const auto faults = find_counted_event("page-faults", kFrequency);
  ASSERT_TRUE(cycles && counted && faults);
  EXPECT_EQ(cycles->event.count == 0, cpu_frequency() == 0);
  EXPECT_EQ(cycles->counting.frequency, cpu_frequency() == 0 ? kFrequency : 0);
  EXPECT_EQ(counted->event.count, 4711u);
  EXPECT_EQ(faults->event.count, 0u);
  EXPECT_EQ(faults->counting.frequency, kFrequency);
}

TEST_F(PerfOwnEvents, AreNotSampledMoreOftenThanTheKernelLets) {
  for (const char* name : {"cycles", "cpu-clock", "page-faults"}) {
    const auto event = find_counted_event(name, most_samples_a_second() + 1);
    ASSERT_FALSE(event) << name;
    EXPECT_NE(event.error().message.find("perf_event_max_sample_rate is"), std::string::npos);
  }
}

TEST(CpuFrequency, IsTheHighestOfAnyCpu) {
  const TemporaryFolder root;
  EXPECT_EQ(cpu_frequency(root.path()), 0u);
  std::filesystem::create_directories(root / "proc");
  std::ofstream(root / "proc/cpuinfo") << "processor\t: 0\ncpu MHz\t\t: 800.000\n"
                                          "processor\t: 1\ncpu MHz\t\t: 2400.012\n";
  EXPECT_EQ(cpu_frequency(root.path()), 2'400'012'000u);
  for (const auto& [cpu, kilohertz] :
       {std::pair{"cpu0", 4'700'000}, std::pair{"cpu1", 3'500'000}}) {
    const auto folder = root / "sys/devices/system/cpu" / cpu / "cpufreq";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "cpuinfo_max_freq") << kilohertz << "\n";
  }
  EXPECT_EQ(cpu_frequency(root.path()), 4'700'000'000u);
}

TEST_F(PerfOwnEvents, AnUnknownNameSaysWhereNamesAre) {
  const auto event = find_counted_event("no-such-thing:100", 0);
  ASSERT_FALSE(event);
  EXPECT_NE(event.error().message.find("xenoprof list"), std::string::npos);
  EXPECT_FALSE(find_counted_event("page-faults:0", 0));
}

}  // namespace
}  // namespace xenoprof::perf
