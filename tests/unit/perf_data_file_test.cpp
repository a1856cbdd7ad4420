// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "open_file.h"
#include "perf/data_file.h"
#include "perf/data_format.h"
#include "perf/data_reader.h"
#include "perf/interpret.h"
#include "temporary_folder.h"

namespace xenoprof::perf {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
}

class PerfDataFile : public testing::Test {
 protected:
  // A process, its mapping and samples of it in every mode.
  void write_records(DataWriter& writer, int samples = 3) {
    RecordBuilder build(layout_);
    ASSERT_TRUE(writer.write(xen_mmap(build)));
    ASSERT_TRUE(writer.write(build.comm(0, 7, 7, "prog", false)));
    ASSERT_TRUE(writer.write(build.mmap(0, 7, 7, 0x400000, 0x100000, 0, {}, 5, "/bin/prog")));
    std::uint64_t time = 1000;
    for (int i = 0; i < samples; ++i) {
      const std::uint64_t chain[] = {static_cast<std::uint64_t>(PERF_CONTEXT_USER), 0x400010,
                                     0x400020};
      ASSERT_TRUE(writer.write(build.sample(++time, 0, Mode::kUser, 0x400010, 7, 7, 1, chain)));
    }
    ASSERT_TRUE(writer.write(
        build.sample(++time, 1, Mode::kHypervisor, 0xffff82d040201010u, 7, 7, 0,
                     std::vector<std::uint64_t>{static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL),
                                                0xffff82d040201010u})));
  }

  void write_whole_file() {
    auto writer = DataWriter::create(new_file(path_), path_, layout_);
    ASSERT_TRUE(writer) << writer.error().message;
    write_records(*writer);
    ASSERT_TRUE(writer->finish({.hostname = "host",
                                .os_release = "6.1",
                                .architecture = "x86_64",
                                .command_line = {"xenoprof", "record"},
                                .cpus = 2,
                                .build_ids = {{"/bin/prog", std::vector<std::byte>(20), false}}}));
  }

  // All of it; -1 after an error.
  int count_records(bool* truncated = nullptr) {
    auto reader = DataReader::open(path_);
    if (!reader) {
      return -1;
    }
    for (int count = 0;; ++count) {
      const auto record = reader->next();
      if (!record) {
        return -1;
      }
      if (!*record) {
        if (truncated != nullptr) {
          *truncated = reader->truncated();
        }
        return count;
      }
    }
  }

  // What a command prints, and its exit status.
  std::pair<std::string, int> run(const std::string& command) {
    std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
    std::string text;
    char part[4096];
    while (const std::size_t got = std::fread(part, 1, sizeof part, pipe)) {
      text.append(part, got);
    }
    return {text, ::pclose(pipe)};
  }

  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "perf.data";
  Layout layout_ = {.events = {{"instructions", 1000000}, {"dtlb-misses", 2000}},
                    .call_chains = true};
};

TEST_F(PerfDataFile, WhatIsWrittenIsRead) {
  write_whole_file();
  auto reader = DataReader::open(path_);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->layout(), layout_);
  Interpreter interpreter(reader->layout());
  int count = 0;
  for (;; ++count) {
    const auto record = reader->next();
    ASSERT_TRUE(record) << record.error().message;
    if (!*record) {
      break;
    }
    interpreter.add(**record);
  }
  EXPECT_EQ(count, 7);
  EXPECT_FALSE(reader->truncated());
  EXPECT_EQ(interpreter.profile().total(0), 3u);
  EXPECT_EQ(interpreter.profile().total(1), 1u);
  EXPECT_EQ(interpreter.profile().samples().size(), 2u);
}

TEST_F(PerfDataFile, WithoutCallChainsToo) {
  layout_.call_chains = false;
  write_whole_file();
  const auto reader = DataReader::open(path_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->layout(), layout_);
  EXPECT_EQ(count_records(), 7);
}

TEST_F(PerfDataFile, LargerThanAnyBufferIsReadWhole) {
  {
    auto writer = DataWriter::create(new_file(path_), path_, layout_);
    ASSERT_TRUE(writer);
    write_records(*writer, 20000);
    ASSERT_TRUE(writer->finish({}));
  }
  EXPECT_EQ(count_records(), 20004);
}

TEST_F(PerfDataFile, NeverFinishedIsReadUpToTheLastFlush) {
  auto writer = DataWriter::create(new_file(path_), path_, layout_);
  ASSERT_TRUE(writer);
  EXPECT_EQ(count_records(), 0);
  write_records(*writer);
  ASSERT_TRUE(writer->flush());
  write_records(*writer);  // not flushed
  bool truncated = true;
  EXPECT_EQ(count_records(&truncated), 7);
  EXPECT_FALSE(truncated);
  const auto reader = DataReader::open(path_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->layout().events[0], layout_.events[0]) << "perf's own events name themselves";
}

TEST_F(PerfDataFile, SizeZeroMeansUpToTheEnd) {
  write_whole_file();
  std::string text = read_file(path_);
  FileHeader header;
  std::memcpy(&header, text.data(), sizeof header);
  text.resize(header.data.offset + header.data.size);
  header.data.size = 0;
  std::memset(header.features, 0, sizeof header.features);
  std::memcpy(text.data(), &header, sizeof header);
  write_file(path_, text);
  EXPECT_EQ(count_records(), 7);
}

TEST_F(PerfDataFile, DataThatEndWithinARecordAreTruncated) {
  write_whole_file();
  std::string text = read_file(path_);
  FileHeader header;
  std::memcpy(&header, text.data(), sizeof header);
  header.data.size -= 8;
  std::memcpy(text.data(), &header, sizeof header);
  write_file(path_, text);
  bool truncated = false;
  EXPECT_EQ(count_records(&truncated), 6);
  EXPECT_TRUE(truncated);
}

TEST_F(PerfDataFile, FullDiskIsOneSentenceWithThePath) {
  auto writer = DataWriter::create(new_file("/dev/full"), "/dev/full", layout_);
  ASSERT_FALSE(writer);
  EXPECT_NE(writer.error().message.find("/dev/full"), std::string::npos);
  EXPECT_NE(writer.error().message.find("No space left"), std::string::npos);
}

TEST_F(PerfDataFile, NothingCutOffAnywhereCrashesTheReader) {
  write_whole_file();
  const std::string whole = read_file(path_);
  FileHeader header;
  std::memcpy(&header, whole.data(), sizeof header);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_file(path_, std::string_view(whole).substr(0, size));
    bool truncated = false;
    const int count = count_records(&truncated);
    if (size < header.data.offset) {
      EXPECT_EQ(count, -1) << size;
    } else {
      EXPECT_EQ(truncated, size < header.data.offset + header.data.size) << size;
      EXPECT_LE(count, 7);
    }
  }
}

TEST_F(PerfDataFile, NoDamageCrashesTheReader) {
  write_whole_file();
  const std::string whole = read_file(path_);
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    std::string damaged = whole;
    // Mostly where the structure is, and in all of the file.
    const std::size_t room = round % 2 == 0 ? 700 : whole.size();
    for (int i = 0; i < 1 + round % 4; ++i) {
      static constexpr char kBytes[] = {0, 1, 2, 8, 0x7f, -1, -128};
      damaged[random() % room] = kBytes[random() % sizeof kBytes];
    }
    write_file(path_, damaged);
    auto reader = DataReader::open(path_);
    if (!reader) {
      continue;
    }
    Interpreter interpreter(reader->layout());
    for (int i = 0; i < 1000; ++i) {
      const auto record = reader->next();
      if (!record || !*record) {
        break;
      }
      interpreter.add(**record);
    }
  }
}

TEST_F(PerfDataFile, OtherFilesAreRefusedWithTheirReason) {
  const auto reason = [&](std::string_view text) {
    write_file(path_, text);
    const auto reader = DataReader::open(path_);
    return reader ? "" : reader.error().message;
  };
  EXPECT_NE(reason("").find("no perf.data"), std::string::npos);
  EXPECT_NE(reason(std::string(200, 'x')).find("no perf.data"), std::string::npos);
  using namespace std::string_literals;
  EXPECT_NE(reason("PERFILE2\x10\0\0\0\0\0\0\0"s).find("describes no event"), std::string::npos);
  EXPECT_NE(reason("2ELIFREP\0\0\0\0\0\0\0\x68"s).find("big-endian"), std::string::npos);
  EXPECT_FALSE(DataReader::open(folder_.path()));
  EXPECT_FALSE(DataReader::open(folder_ / "none"));
  EXPECT_FALSE(DataReader::open("/dev/zero"));
}

// Whoever has perf reads the same.
class PerfDataFileInStockPerf : public PerfDataFile {
 protected:
  void SetUp() override {
    PerfDataFile::SetUp();
    if (std::system("perf --version > /dev/null 2>&1") != 0) {
      GTEST_SKIP() << "no perf on this machine";
    }
    write_whole_file();
  }
};

TEST_F(PerfDataFileInStockPerf, FeaturesAndEventsAreShown) {
  const auto [text, status] = run("perf report --header-only -i " + path_.string());
  EXPECT_EQ(status, 0) << text;
  for (const char* part : {"hostname : host", "os release : 6.1", "cmdline : xenoprof record",
                           "nrcpus online : 2", "name = instructions", "name = dtlb-misses"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  }
  const auto [ids, listed] = run("perf buildid-list -i " + path_.string());
  EXPECT_EQ(listed, 0);
  EXPECT_NE(ids.find("/bin/prog"), std::string::npos) << ids;
}

TEST_F(PerfDataFileInStockPerf, SamplesAreShownWithTheirTask) {
  const auto [text, status] =
      run("perf script -F comm,pid,tid,cpu,event,ip -G -i " + path_.string());
  EXPECT_EQ(status, 0) << text;
  int lines = 0;
  for (const char c : text) {
    lines += c == '\n' ? 1 : 0;
  }
  EXPECT_EQ(lines, 4) << text;
  EXPECT_NE(text.find("prog"), std::string::npos);
  EXPECT_NE(text.find("7/7"), std::string::npos) << text;
}

TEST_F(PerfDataFileInStockPerf, FunctionsOfXenAreNamed) {
  const std::string report =
      "perf report --stdio --no-children -g none --sort sym -i " + path_.string();
  auto [before, status] = run(report);
  EXPECT_EQ(status, 0) << before;
  EXPECT_EQ(before.find("do_iret"), std::string::npos);
  const XenFunction functions[] = {{0xffff82d040200000u, 0x1000, "do_something"},
                                   {0xffff82d040201000u, 0x100, "do_iret"}};
  auto writer = DataWriter::create(new_file(path_), path_, layout_);
  ASSERT_TRUE(writer);
  write_records(*writer);
  ASSERT_TRUE(writer->write(xen_function_records(layout_, functions)));
  ASSERT_TRUE(writer->finish({}));
  const auto [after, status_after] = run(report);
  EXPECT_EQ(status_after, 0) << after;
  EXPECT_NE(after.find("100.00%  [k] do_iret"), std::string::npos) << after;
}

// Whose periods are not in the file: with a period of 0 every share would be 0 %.
TEST_F(PerfDataFileInStockPerf, SamplesByFrequencyWeighOneEach) {
  const Layout layout{.events = {{"instructions", 0}, {"page-faults", 0}}};
  RecordBuilder build(layout);
  auto writer = DataWriter::create(new_file(path_), path_, layout);
  ASSERT_TRUE(writer);
  for (const std::size_t event : {0, 1}) {
    ASSERT_TRUE(writer->write(build.sample(1, event, Mode::kUser, 0x1000, 7, 7, 0, {})));
  }
  ASSERT_TRUE(writer->finish({}));
  const auto [text, status] = run("perf script -F period -i " + path_.string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '1'), 2) << text;
  EXPECT_EQ(text.find('0'), std::string::npos) << text;
  const auto reader = DataReader::open(path_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->layout().events, layout.events) << "still by frequency";
}

TEST_F(PerfDataFileInStockPerf, UnfinishedFileIsReadToo) {
  auto writer = DataWriter::create(new_file(path_), path_, layout_);
  ASSERT_TRUE(writer);
  write_records(*writer);
  ASSERT_TRUE(writer->flush());
  const auto [text, status] = run("perf script -F comm,ip -G -i " + path_.string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_NE(text.find("prog"), std::string::npos) << text;
}

}  // namespace
}  // namespace xenoprof::perf
