// SPDX-License-Identifier: GPL-2.0-or-later
// The recorder on this kernel, with a uprobe in place of the driver: a call of emit() below emits a
// tracepoint with the driver's fields. Skipped where the kernel does not let us.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "open_file.h"
#include "perf/data_file.h"
#include "perf/interpret.h"
#include "perf/record_parser.h"
#include "perf/recorder.h"

namespace {
// In the order of the first six argument registers.
__attribute__((noipa)) void emit(std::uint64_t ip, std::uint64_t domain, std::uint64_t vcpu,
                                 std::uint64_t mode, std::uint64_t event, std::uint64_t exact) {
  asm volatile("" ::"D"(ip), "S"(domain), "d"(vcpu), "c"(mode), "a"(event), "b"(exact) : "memory");
}
}  // namespace

namespace xenoprof::perf {
namespace {

using namespace std::chrono_literals;

constexpr char kTracing[] = "/sys/kernel/tracing";
constexpr std::uint64_t kXenPc = 0xffff82d040201234u;

// A line for tracefs; false when the kernel refuses it.
bool tell(const std::string& file, const std::string& line, int flags) {
  const int descriptor = ::open((std::string(kTracing) + "/" + file).c_str(), O_WRONLY | flags);
  if (descriptor < 0) {
    return false;
  }
  const bool done =
      ::write(descriptor, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  ::close(descriptor);
  return done;
}

// The place of an address of this program in its file.
std::uint64_t file_offset(std::uint64_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0;
    unsigned long end = 0;
    unsigned long offset = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*4s %lx", &start, &end, &offset) == 3 &&
        address >= start && address < end) {
      return address - start + offset;
    }
  }
  return 0;
}

std::string this_program() {
  char path[4096] = {};
  return ::readlink("/proc/self/exe", path, sizeof path - 1) > 0 ? path : "";
}

class PerfRecorder : public testing::Test {
 protected:
  void SetUp() override {
    if (::access((std::string(kTracing) + "/uprobe_events").c_str(), W_OK) != 0 &&
        // For this test alone: nobody else sees the mount.
        (::unshare(CLONE_NEWNS) != 0 ||
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, "") != 0 ||
         ::mount("tracefs", kTracing, "tracefs", 0, "") != 0)) {
      GTEST_SKIP() << "no tracefs for us";
    }
    group_ = "xenoprof_test_" + std::to_string(::getpid());
    const auto probe = file_offset(reinterpret_cast<std::uint64_t>(&emit));
    if (!tell("uprobe_events",
              fmt::format("p:{}/sample {}:{:#x} ip=%di:u64 domain=%si:u16 vcpu=%dx:u16 mode=%cx:u8 "
                          "event=%r8:u8 exact=%r9:u8\n",
                          group_, this_program(), probe),
              O_APPEND)) {
      group_.clear();
      GTEST_SKIP() << "no uprobes for us";
    }
    options_.tracepoint = group_ + ":sample";
    options_.layout = {.events = {{"instructions", 1000000}, {"cycles", 2000000}},
                       .call_chains = true};
  }

  void TearDown() override {
    if (!group_.empty()) {
      EXPECT_TRUE(tell("uprobe_events", "-:" + group_ + "/sample\n", O_APPEND));
    }
  }

  Recorder open() {
    auto recorder = Recorder::open(options_);
    EXPECT_TRUE(recorder) << recorder.error().message;
    return std::move(*recorder);
  }

  // Interprets what is recorded, each domain for itself.
  Sink sink() {
    return [this](std::uint16_t domain, Bytes bytes) {
      RecordParser parser(options_.layout);
      const auto record = parser.parse(bytes);
      ASSERT_TRUE(record) << record.error().message;
      if (const auto* sample = std::get_if<SampleRecord>(&record->body)) {
        domains_.push_back(domain);
        EXPECT_GE(record->time, last_sample_) << "samples out of order";
        last_sample_ = record->time;
        samples_.push_back(*sample);
        samples_.back().call_chain = {};
        chains_.emplace_back(sample->call_chain.begin(), sample->call_chain.end());
      }
      if (const auto* lost = std::get_if<LostRecord>(&record->body);
          lost != nullptr && lost->id != kSidebandId) {
        told_lost_ += lost->count;
      }
      if (domain == kOwnDomain) {
        interpreter_.add(*record);
      }
    };
  }

  std::string group_;
  RecorderOptions options_;
  Interpreter interpreter_{
      {.events = {{"instructions", 1000000}, {"cycles", 2000000}}, .call_chains = true}};
  std::uint64_t last_sample_ = 0;
  std::uint64_t told_lost_ = 0;
  std::vector<std::uint16_t> domains_;
  std::vector<SampleRecord> samples_;
  std::vector<std::vector<std::uint64_t>> chains_;
};

TEST_F(PerfRecorder, SampleBecomesOneOfItsOwnTaskWithItsCallChain) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  const auto pc = reinterpret_cast<std::uint64_t>(&emit);
  emit(pc, kOwnDomain, 3, 0, 1, 1);
  emit(pc, kOwnDomain, 4, 0, 0, 0);
  emit(kXenPc, kOwnDomain, 0, 2, 0, 0);
  recorder.stop(sink());

  ASSERT_EQ(samples_.size(), 3u);
  EXPECT_EQ(samples_[0].ip, pc);
  EXPECT_EQ(samples_[0].pid, ::getpid());
  EXPECT_EQ(samples_[0].tid, ::gettid());
  EXPECT_EQ(samples_[0].cpu, 3u);
  EXPECT_EQ(samples_[0].event, 1u);
  EXPECT_TRUE(samples_[0].user);
  ASSERT_GE(chains_[0].size(), 3u);
  EXPECT_EQ(chains_[0][1], pc) << "the chain begins with the sampled PC";
  EXPECT_EQ(samples_[1].cpu, 4u);
  EXPECT_EQ(chains_[1].size(), 2u) << "a chain that belongs to another place is not kept";
  EXPECT_FALSE(samples_[2].user);
  EXPECT_EQ(chains_[2].size(), 2u);

  const Profile& profile = interpreter_.profile();
  ASSERT_EQ(profile.samples().size(), 3u);
  for (const Sample& sample : profile.samples()) {
    EXPECT_EQ(sample.key.pid, ::getpid());
    const Location& leaf = profile.leaf(sample);
    const auto image = profile.text(profile.images()[leaf.image].name);
    if (sample.key.mode == Mode::kHypervisor) {
      EXPECT_EQ(image, kXenImage);
      EXPECT_EQ(leaf.address, kXenPc);
    } else {
      EXPECT_EQ(image, this_program());
      EXPECT_EQ(leaf.address, file_offset(pc));
    }
  }
  EXPECT_EQ(recorder.losses().samples, 0u);
}

TEST_F(PerfRecorder, SampleOfAPassiveDomainNamesNoTask) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  emit(0xffffffff81001234u, 5, 1, 1, 0, 1);
  recorder.stop(sink());
  ASSERT_EQ(samples_.size(), 1u);
  EXPECT_EQ(domains_[0], 5);
  EXPECT_EQ(samples_[0].pid, 0);
  EXPECT_EQ(samples_[0].tid, 0);
  EXPECT_EQ(samples_[0].cpu, 1u);
  EXPECT_EQ(chains_[0].size(), 2u);
}

TEST_F(PerfRecorder, ProcessesThatBeginLaterHaveNamesAndImages) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  const auto pc = reinterpret_cast<std::uint64_t>(&emit);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NAME, "renamed");
    emit(pc, kOwnDomain, 0, 0, 0, 0);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  const pid_t other = ::fork();
  if (other == 0) {
    // The same program again, mapped anew: see main().
    ::execl(this_program().c_str(), "again", "emit", nullptr);
    ::_exit(1);
  }
  ::waitpid(other, nullptr, 0);
  recorder.stop(sink());

  const Profile& profile = interpreter_.profile();
  ASSERT_EQ(profile.samples().size(), 2u);
  const Sample& forked = profile.samples()[0];
  EXPECT_EQ(forked.key.pid, child);
  EXPECT_EQ(profile.text(forked.key.process), "renamed");
  const Sample& executed = profile.samples()[1];
  EXPECT_EQ(executed.key.pid, other);
  for (const Sample& sample : profile.samples()) {
    const Location& leaf = profile.leaf(sample);
    EXPECT_EQ(profile.text(profile.images()[leaf.image].name), this_program());
    EXPECT_EQ(leaf.address, file_offset(pc));
  }
}

TEST_F(PerfRecorder, WhatFindsNoRoomIsCountedExactlyAndMappingsOutliveIt) {
  options_.sample_ring_bytes = 4096;
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  constexpr std::uint64_t kEmitted = 5000;
  for (std::uint64_t i = 0; i < kEmitted; ++i) {
    emit(reinterpret_cast<std::uint64_t>(&emit), kOwnDomain, 0, 0, 0, 1);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  recorder.stop(sink());
  ::sched_setaffinity(0, sizeof before, &before);
  EXPECT_GT(recorder.losses().samples, 0u);
  EXPECT_EQ(recorder.losses().sideband, 0u);
  EXPECT_EQ(samples_.size() + recorder.losses().samples, kEmitted);
  EXPECT_EQ(told_lost_, recorder.losses().samples) << "the records tell the same losses";
}

TEST_F(PerfRecorder, DrainingWhileTwoThreadsEmitKeepsTimeOrder) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  constexpr std::uint64_t kEach = 20000;
  const auto work = [] {
    for (std::uint64_t i = 0; i < kEach; ++i) {
      emit(reinterpret_cast<std::uint64_t>(&emit), kOwnDomain, 0, 0, 0, 0);
    }
  };
  std::jthread first(work);
  std::jthread second(work);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(recorder.wait(10ms));
    recorder.drain(sink());
  }
  first.join();
  second.join();
  recorder.stop(sink());
  EXPECT_EQ(samples_.size() + recorder.losses().samples, 2 * kEach);
}

// `perf report` of the file and the interpreter agree on every process and image.
TEST_F(PerfRecorder, StockPerfReportSaysTheSameAsTheProfile) {
  if (std::system("perf --version > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "no perf on this machine";
  }
  char folder[] = "/tmp/xenoprof-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/perf.data";
  auto writer = DataWriter::create(new_file(path), path, options_.layout);
  ASSERT_TRUE(writer);
  Recorder recorder = open();
  const Sink both = [&, count = sink()](std::uint16_t domain, Bytes record) {
    count(domain, record);
    ASSERT_TRUE(writer->write(record));
  };
  ASSERT_TRUE(recorder.start(both));
  const auto pc = reinterpret_cast<std::uint64_t>(&emit);
  // Forks, an exec, the C library, the kernel and Xen.
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (i == 5) {
        ::execl(this_program().c_str(), "again", "emit", nullptr);
      }
      ::prctl(PR_SET_NAME, i % 2 == 0 ? "even" : "odd");
      for (int sample = 0; sample <= i; ++sample) {
        emit(pc, kOwnDomain, 0, 0, 0, 1);
        emit(reinterpret_cast<std::uint64_t>(&::getpid), kOwnDomain, 0, 0, 0, 0);
      }
      emit(kXenPc, kOwnDomain, 0, 2, 0, 0);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    recorder.drain(both);
  }
  recorder.stop(both);
  ASSERT_TRUE(writer->finish({.architecture = "x86_64"}));

  std::map<std::string, std::uint64_t> ours;
  const Profile& profile = interpreter_.profile();
  for (const Sample& sample : profile.samples()) {
    const Location& leaf = profile.leaf(sample);
    std::string image(profile.text(profile.images()[leaf.image].name));
    image = image.substr(image.rfind('/') + 1);
    ours[fmt::format("{} {}", profile.text(sample.key.process), image)] += sample.samples[0];
  }
  std::map<std::string, std::uint64_t> theirs;
  std::FILE* const pipe = ::popen(("perf report -i " + path +
                                   " --stdio --no-children -g none -n -q --sort comm,dso -t '|' "
                                   "2> /dev/null")
                                      .c_str(),
                                  "r");
  char line[1024];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    char comm[256] = {};
    char image[256] = {};
    unsigned long samples = 0;
    // overhead | samples |comm|dso
    if (std::sscanf(line, "%*[^|]|%lu |%255[^|]|%255s", &samples, comm, image) == 3) {
      std::string name = comm;
      name.resize(name.find_last_not_of(' ') + 1);
      theirs[name + " " + image] += samples;
    }
  }
  ::pclose(pipe);
  EXPECT_EQ(ours, theirs);
  EXPECT_GE(ours.size(), 6u);
  std::filesystem::remove_all(folder);
}

// Another CPU may still have an older record on its way.
TEST_F(PerfRecorder, YoungRecordsAreHeldBackUntilTheirOrderIsSure) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  recorder.drain(sink());
  const auto begin = std::chrono::steady_clock::now();
  emit(1, kOwnDomain, 0, 0, 0, 0);
  recorder.drain(sink());
  EXPECT_TRUE(samples_.empty()) << "younger than the previous drain";
  recorder.drain(sink());
  // A busy machine may have let the record grow old in the meantime.
  if (std::chrono::steady_clock::now() - begin < 100ms) {
    EXPECT_TRUE(samples_.empty()) << "younger than 0.1 s";
  }
  std::this_thread::sleep_for(110ms);
  recorder.drain(sink());
  EXPECT_EQ(samples_.size(), 1u);
  recorder.stop(sink());
  EXPECT_EQ(samples_.size(), 1u);
}

TEST_F(PerfRecorder, CounterWithoutEventIsNoSample) {
  Recorder recorder = open();
  ASSERT_TRUE(recorder.start(sink()));
  emit(1, kOwnDomain, 0, 0, 2, 0);  // two events only
  emit(1, kOwnDomain, 0, 3, 0, 0);  // no such mode
  recorder.stop(sink());
  EXPECT_TRUE(samples_.empty());
}

TEST(PerfRecorderMissing, TracepointIsAskedForInOneSentence) {
  const auto recorder = Recorder::open({.tracepoint = "xenoprof_nowhere:sample"});
  ASSERT_FALSE(recorder);
  EXPECT_NE(recorder.error().message.find("xenoprof_nowhere:sample"), std::string::npos);
}

}  // namespace
}  // namespace xenoprof::perf

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "emit") {
    emit(reinterpret_cast<std::uint64_t>(&emit), xenoprof::perf::kOwnDomain, 0, 0, 0, 0);
    return 0;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
