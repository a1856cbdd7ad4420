// SPDX-License-Identifier: GPL-2.0-or-later
// What other programs' perf.data hold, made by hand.
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <unistd.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "perf/data_reader.h"
#include "perf/interpret.h"
#include "temporary_folder.h"

namespace xenoprof::perf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Buffer = std::vector<std::byte>;

constexpr std::uint64_t kFields =
    PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU;

Buffer words(std::initializer_list<std::uint64_t> values) {
  Buffer buffer;
  for (const std::uint64_t value : values) {
    put(buffer, value);
  }
  return buffer;
}

std::uint64_t two(std::uint32_t low, std::uint32_t high) {
  return low | (std::uint64_t{high} << 32);
}

Buffer text(std::string_view text) {
  Buffer buffer;
  put_bytes(buffer, std::as_bytes(std::span(text)));
  buffer.resize((buffer.size() + 8) / 8 * 8);
  return buffer;
}

Buffer joined(std::initializer_list<Buffer> parts) {
  Buffer buffer;
  for (const Buffer& part : parts) {
    put_bytes(buffer, part);
  }
  return buffer;
}

Buffer record(std::uint32_t type, std::uint16_t misc, const Buffer& payload) {
  Buffer buffer;
  put(buffer, perf_event_header{type, misc, static_cast<std::uint16_t>(8 + payload.size())});
  put_bytes(buffer, payload);
  return buffer;
}

perf_event_attr attr(std::uint32_t type, std::uint64_t config,
                     std::uint64_t sample_type = kFields) {
  perf_event_attr attr = {};
  attr.type = type;
  attr.size = sizeof attr;
  attr.config = config;
  attr.sample_period = 1000;
  attr.sample_type = sample_type;
  attr.sample_id_all = 1;
  return attr;
}
const perf_event_attr kClock = attr(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK);

// The trailer of sample_id_all for kFields.
Buffer trailer(std::uint64_t time, std::uint64_t id = 0) {
  return words({two(7, 7), time, two(0, 0), id});
}
Buffer comm(std::uint64_t time, std::string_view name) {
  return record(PERF_RECORD_COMM, 0, joined({words({two(7, 7)}), text(name), trailer(time)}));
}
Buffer sample(std::uint64_t time, std::uint64_t ip = 0x1000, std::uint64_t id = 100,
              std::uint16_t misc = PERF_RECORD_MISC_USER) {
  return record(PERF_RECORD_SAMPLE, misc, words({id, ip, two(7, 7), time, two(1, 0)}));
}
Buffer kernel_mmap(std::uint64_t start, std::uint64_t length, std::string_view name) {
  return record(PERF_RECORD_MMAP, PERF_RECORD_MISC_KERNEL,
                joined({words({two(~0u, 0), start, length, start}), text(name), trailer(0)}));
}
Buffer round() {
  return record(68, 0, {});
}

class PerfDataReader : public testing::Test {
 protected:
  // The events have the identifiers 100, 200, ...
  void write_file(const std::vector<perf_event_attr>& attrs, const Buffer& data,
                  const std::vector<std::pair<unsigned, Buffer>>& features = {}) {
    FileHeader header;
    header.size = sizeof header;
    header.attr_size = sizeof(perf_event_attr) + sizeof(FileSection);
    header.attrs = {sizeof header + 8 * attrs.size(), header.attr_size * attrs.size()};
    header.data = {header.attrs.offset + header.attrs.size, data.size()};
    std::uint64_t at = header.data.offset + data.size() + features.size() * sizeof(FileSection);
    Buffer table;
    Buffer contents;
    for (const auto& [bit, content] : features) {
      header.features[0] |= std::uint64_t{1} << bit;
      put(table, FileSection{at + contents.size(), content.size()});
      put_bytes(contents, content);
    }
    Buffer file;
    put(file, header);
    for (std::size_t i = 0; i < attrs.size(); ++i) {
      put(file, std::uint64_t{100 * (i + 1)});
    }
    for (std::size_t i = 0; i < attrs.size(); ++i) {
      put(file, attrs[i]);
      put(file, FileSection{sizeof header + 8 * i, 8});
    }
    write(joined({file, data, table, contents}));
  }
  void write_pipe(std::initializer_list<Buffer> records) {
    write(joined({words({kMagic, 16}), joined(records)}));
  }
  void write(const Buffer& bytes) {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  // "process image+address=symbol: count,count" for each kind of sample; notes_ as well.
  std::vector<std::string> read() {
    auto reader = DataReader::open(path_);
    if (!reader) {
      return {reader.error().message};
    }
    layout_ = reader->layout();
    Interpreter interpreter(layout_);
    for (;;) {
      const auto record = reader->next();
      if (!record) {
        return {record.error().message};
      }
      if (!*record) {
        break;
      }
      interpreter.add(**record);
    }
    interpreter.set_build_ids(reader->build_ids());
    notes_ = reader->notes();
    std::vector<std::string> lines;
    const Profile& profile = interpreter.profile();
    for (const Sample& sample : profile.samples()) {
      std::string stack;
      for (const LocationId id : profile.stack(sample)) {
        const Location& location = profile.locations()[id];
        const Image& image = profile.images()[location.image];
        stack += fmt::format(
            " {}{}+{:x}{}", profile.text(image.name),
            image.build_id != 0 ? "(" + std::string(profile.text(image.build_id)) + ")" : "",
            location.address,
            location.symbol != 0 ? "=" + std::string(profile.text(location.symbol)) : "");
      }
      lines.push_back(fmt::format("{}{}: {}", profile.text(sample.key.process), stack,
                                  fmt::join(sample.samples, ",")));
    }
    return lines;
  }

  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "perf.data";
  Layout layout_;
  std::vector<std::string> notes_;
};

TEST_F(PerfDataReader, EventsMayHaveFieldsOfTheirOwn) {
  perf_event_attr faults = attr(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS,
                                kFields | PERF_SAMPLE_ADDR | PERF_SAMPLE_PERIOD | PERF_SAMPLE_READ |
                                    PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_RAW);
  faults.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED;
  faults.freq = 1;
  const Buffer fault =
      record(PERF_RECORD_SAMPLE, PERF_RECORD_MISC_USER,
             words({200, 0x2000, two(7, 7), 30, /*address*/ 5, two(1, 0), /*period*/ 1,
                    /*read*/ 2, 99, 1, 200, 1, 100,
                    /*chain*/ 3, static_cast<std::uint64_t>(PERF_CONTEXT_USER), 0x2000, 0x3000,
                    /*raw*/ two(4, 0)}));
  write_file({kClock, faults}, joined({comm(5, "prog"), sample(10), fault, sample(20)}));
  EXPECT_THAT(read(),
              ElementsAre("prog [unknown]+1000: 2,0", "prog [unknown]+2000 [unknown]+2fff: 0,1"));
  EXPECT_EQ(layout_.events[0], (Event{"cpu-clock", 1000}));
  EXPECT_EQ(layout_.events[1], (Event{"page-faults", 0})) << "its period varies";
}

TEST_F(PerfDataReader, IdentifierMayStandAmongTheFields) {
  constexpr std::uint64_t kOld =
      PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID | PERF_SAMPLE_CPU;
  const auto old_sample = [](std::uint64_t time, std::uint64_t id) {
    return record(PERF_RECORD_SAMPLE, PERF_RECORD_MISC_USER,
                  words({0x1000, two(7, 7), time, id, two(1, 0)}));
  };
  const Buffer name =
      record(PERF_RECORD_COMM, 0,
             joined({words({two(7, 7)}), text("late"), words({two(7, 7), 15, 200, two(0, 0)})}));
  write_file({attr(PERF_TYPE_HARDWARE, 0, kOld), attr(PERF_TYPE_HARDWARE, 1, kOld)},
             joined({name, old_sample(10, 200), old_sample(20, 100)}));
  EXPECT_THAT(read(), ElementsAre(":7 [unknown]+1000: 0,1", "late [unknown]+1000: 1,0"));
}

// Each may claim the whole file, and all of them together would need its multiple in memory.
TEST_F(PerfDataReader, IdentifiersOfAllEventsFitIntoTheFile) {
  Buffer attrs;
  constexpr std::size_t kEvents = 2;
  constexpr std::size_t kEntry = sizeof(perf_event_attr) + sizeof(FileSection);
  constexpr std::uint64_t kSize = sizeof(FileHeader) + kEvents * kEntry;
  for (std::size_t i = 0; i < kEvents; ++i) {
    put(attrs, kClock);
    put(attrs, FileSection{0, kSize / 16 * 8 + 8});
  }
  FileHeader header;
  header.size = sizeof header;
  header.attr_size = kEntry;
  header.attrs = {sizeof header, attrs.size()};
  header.data = {kSize, 0};
  Buffer file;
  put(file, header);
  write(joined({file, attrs}));
  const auto reader = DataReader::open(path_);
  ASSERT_FALSE(reader);
  EXPECT_THAT(reader.error().message, HasSubstr("its attributes lie outside"));
}

TEST_F(PerfDataReader, RecordsComeInTheOrderOfTime) {
  const Buffer name = comm(25, "new");
  // Two CPUs' buffers, one after the other, in two turns; and all in one.
  const Buffer turn = joined({sample(10), sample(30), comm(5, "old"), sample(20), name});
  const Buffer next = joined({sample(40), sample(35)});
  for (const Buffer& data :
       {joined({turn, round(), next, round()}), joined({turn, next}), joined({next, turn})}) {
    write_file({kClock}, data);
    EXPECT_THAT(read(), ElementsAre("old [unknown]+1000: 2", "new [unknown]+1000: 3"));
  }
}

TEST_F(PerfDataReader, ATurnsRecordsWaitForTheNextTurn) {
  // The other CPU's buffer was emptied before the first one's last record was written.
  write_file({kClock}, joined({comm(5, "old"), sample(30), round(), comm(20, "new"), round()}));
  EXPECT_THAT(read(), ElementsAre("new [unknown]+1000: 1"));
}

TEST_F(PerfDataReader, WhatHasNoTimeComesAtOnce) {
  write_file({kClock}, joined({sample(10), comm(0, "prog")}));
  EXPECT_THAT(read(), ElementsAre("prog [unknown]+1000: 1"));
}

TEST_F(PerfDataReader, PipesDescribeThemselvesAsTheyGo) {
  perf_event_attr event = attr(PERF_TYPE_RAW, 0xc0);
  const Buffer tracing = joined({record(66, 0, words({two(13, 0)})), Buffer(16)});
  const Buffer trace = joined({record(71, 0, words({24, 0, 0, 0, 0})), Buffer(24)});
  Buffer attribute;
  put(attribute, event);
  Buffer other;
  put(other, attr(PERF_TYPE_RAW, 0xc1));
  write_pipe({record(64, 0, joined({attribute, words({100, 101})})),
              record(64, 0, joined({other, words({200})})),
              record(78, 0, joined({words({2, 200}), text("branches")})),
              record(78, 0, joined({words({2, 100}), text("instructions:u")})), tracing,
              comm(5, "prog"), trace, sample(10, 0x1000, 100), sample(20, 0x1000, 101)});
  EXPECT_THAT(read(), ElementsAre("prog [unknown]+1000: 2,0"));
  EXPECT_EQ(layout_.events[0], (Event{"instructions:u", 1000}));
  EXPECT_EQ(layout_.events[1], (Event{"branches", 1000}));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("24 bytes of hardware traces")));
}

TEST_F(PerfDataReader, CompressedRecordsAreReadAcrossTheirBounds) {
  const Buffer plain = joined({comm(5, "prog"), sample(10), sample(20)});
  std::string packed(ZSTD_compressBound(plain.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 1));
  const Bytes bytes = std::as_bytes(std::span(packed));
  const Buffer first(bytes.begin(), bytes.begin() + 21);
  const Buffer rest(bytes.begin() + 21, bytes.end());
  write_file({kClock}, joined({record(81, 0, first), record(81, 0, rest), sample(30)}));
  EXPECT_THAT(read(), ElementsAre("prog [unknown]+1000: 3"));
  EXPECT_TRUE(notes_.empty());
  Buffer padded = joined({words({rest.size()}), rest});
  padded.resize((padded.size() + 7) / 8 * 8);
  write_file({kClock}, joined({record(81, 0, first), record(83, 0, padded), round(), sample(30)}));
  EXPECT_THAT(read(), ElementsAre("prog [unknown]+1000: 3"));
  EXPECT_TRUE(notes_.empty());
  write_file({kClock}, record(81, 0, rest));
  EXPECT_THAT(read(), ElementsAre(HasSubstr("compressed data are broken")));
}

TEST_F(PerfDataReader, WhatGrowsBeyondReasonIsRefused) {
  // Records that are not needed, and so are not kept: only their mass could harm.
  const Buffer needless = record(69, 0, Buffer(65520));
  Buffer plain;
  for (int i = 0; i < 400; ++i) {
    put_bytes(plain, needless);
  }
  std::string packed(ZSTD_compressBound(plain.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 1));
  ASSERT_LT(packed.size(), 60000u);
  const Bytes bytes = std::as_bytes(std::span(packed));
  write_file({kClock}, record(81, 0, Buffer(bytes.begin(), bytes.end())));
  EXPECT_THAT(read(), ElementsAre(HasSubstr("grow beyond reason")));
}

TEST_F(PerfDataReader, WhatIsNotUnderstoodIsCountedAndNamed) {
  write_file({kClock, kClock},
             joined({comm(5, "prog"), record(63, 0, Buffer(64)), record(99, 0, Buffer(8)),
                     record(99, 0, Buffer(8)), sample(10), sample(10, 0x1000, 999),
                     record(PERF_RECORD_LOST, 0, joined({words({100, 12}), trailer(11)})),
                     record(PERF_RECORD_LOST_SAMPLES, 0, joined({words({3}), trailer(12)})),
                     record(PERF_RECORD_THROTTLE, 0, joined({words({0, 0, 0}), trailer(13)})),
                     record(PERF_RECORD_SWITCH, 0, trailer(14))}));
  EXPECT_THAT(read(), ElementsAre("prog [unknown]+1000: 1,0"));
  EXPECT_THAT(notes_,
              ElementsAre(HasSubstr("15 samples or other records were lost"),
                          HasSubstr("paused the recording 1 times"), HasSubstr("1 samples are of"),
                          HasSubstr("1 records of type 63"), HasSubstr("2 records of type 99")));
}

// What perf 6.1 sums up at the end, the kernel told before, as far as it came to that.
TEST_F(PerfDataReader, LossesAreCountedOnce) {
  const auto lost = [](std::uint64_t count, std::uint64_t time) {
    return record(PERF_RECORD_LOST, 0, joined({words({100, count}), trailer(time, 100)}));
  };
  const auto samples = [](std::uint64_t count, std::uint64_t time, std::uint16_t misc = 0) {
    return record(PERF_RECORD_LOST_SAMPLES, misc, joined({words({count}), trailer(time, 100)}));
  };
  const auto told = [&](const Buffer& data) {
    write_file({kClock}, data);
    read();
    return notes_;
  };
  EXPECT_THAT(told(joined({lost(7, 10), lost(3, 20)})), ElementsAre(HasSubstr("10 samples or")));
  EXPECT_THAT(told(joined({lost(7, 10), lost(3, 20), samples(11, 0)})),
              ElementsAre(HasSubstr("11 samples or")));
  EXPECT_THAT(told(joined({lost(7, 10), samples(5, 20), samples(7, 0)})),
              ElementsAre(HasSubstr("12 samples or")));
  constexpr std::uint16_t kFiltered = 1u << 15;
  EXPECT_THAT(told(samples(9, 0, kFiltered)), ElementsAre());
}

TEST_F(PerfDataReader, VirtualMachinesAddressesAreNotTheHosts) {
  write_file({kClock}, joined({kernel_mmap(0xffffffff81000000, 0x1000000, "[kernel.kallsyms]_text"),
                               comm(5, "qemu"),
                               sample(10, 0xffffffff81000010, 100, PERF_RECORD_MISC_GUEST_KERNEL),
                               sample(20, 0x401000, 100, PERF_RECORD_MISC_GUEST_USER),
                               sample(30, 0xffffffff81000010, 100, PERF_RECORD_MISC_KERNEL)}));
  EXPECT_THAT(read(),
              ElementsAre("qemu [guest.kernel]+ffffffff81000010: 1", "qemu [guest.user]+401000: 1",
                          "qemu [kernel]+ffffffff81000010: 1"));
}

TEST_F(PerfDataReader, CodeThatTheKernelMakesHasItsName) {
  const auto symbol = [](std::uint64_t time, std::uint16_t flags) {
    return record(
        PERF_RECORD_KSYMBOL, 0,
        joined({words({0xffffffffc0000100, two(0x100, 1u | (std::uint32_t{flags} << 16))}),
                text("bpf_prog_1"), trailer(time)}));
  };
  const auto at = [](std::uint64_t time) {
    return sample(time, 0xffffffffc0000110, 100, PERF_RECORD_MISC_KERNEL);
  };
  write_file({kClock}, joined({comm(5, "prog"), symbol(10, 0), at(20), symbol(30, 1), at(40)}));
  EXPECT_THAT(read(), ElementsAre("prog bpf_prog_1+ffffffffc0000110=bpf_prog_1: 1",
                                  "prog [kernel]+ffffffffc0000110: 1"));
}

TEST_F(PerfDataReader, BuildIdsAreTakenFromTheirList) {
  const auto entry = [](std::uint16_t misc, std::byte first, std::string_view path) {
    Buffer buffer;
    BuildIdEntry entry = {};
    const Buffer name = text(path);
    entry.header = {0, misc, static_cast<std::uint16_t>(sizeof entry + name.size())};
    entry.id[0] = first;
    entry.size = 4;
    put(buffer, entry);
    put_bytes(buffer, name);
    return buffer;
  };
  const Buffer mmap =
      record(PERF_RECORD_MMAP, PERF_RECORD_MISC_USER,
             joined({words({two(7, 7), 0x1000, 0x1000, 0}), text("/bin/prog"), trailer(6)}));
  write_file({kClock},
             joined({comm(5, "prog"), mmap, sample(10, 0x1010),
                     sample(11, 0xffffffff81000010, 100, PERF_RECORD_MISC_KERNEL)}),
             {{kBuildIdFeature,
               joined({entry(kHasSize | PERF_RECORD_MISC_USER, std::byte{0xab}, "/bin/prog"),
                       entry(PERF_RECORD_MISC_KERNEL, std::byte{0xcd}, "[kernel.kallsyms]")})}});
  EXPECT_THAT(read(), ElementsAre("prog /bin/prog(ab000000)+10: 1",
                                  "prog [kernel](cd00000000000000000000000000000000000000)"
                                  "+ffffffff81000010: 1"));
}

// perf record --buildid-mmap.
TEST_F(PerfDataReader, MappingsOfTheKernelAndOfModulesMayBearTheirBuildIds) {
  const auto mmap2 = [](std::uint64_t start, std::uint32_t id, std::string_view path) {
    return record(PERF_RECORD_MMAP2, PERF_RECORD_MISC_KERNEL | PERF_RECORD_MISC_MMAP_BUILD_ID,
                  joined({words({two(~0u, 0), start, 0x1000, start, two(4, id), 0, 0, 0}),
                          text(path), trailer(0)}));
  };
  write_file({kClock},
             joined({mmap2(0xffffffff81000000, 0xab, "[kernel.kallsyms]_text"),
                     mmap2(0xffffffffc0000000, 0xcd, "/lib/modules/1/some.ko"), comm(5, "prog"),
                     sample(10, 0xffffffff81000010, 100, PERF_RECORD_MISC_KERNEL),
                     sample(20, 0xffffffffc0000010, 100, PERF_RECORD_MISC_KERNEL)}));
  EXPECT_THAT(read(), ElementsAre("prog [kernel](ab000000)+ffffffff81000010: 1",
                                  "prog [some](cd000000)+ffffffffc0000010: 1"));
}

TEST_F(PerfDataReader, DamageIsToldWithItsPlace) {
  const Buffer good = comm(5, "prog");
  Buffer bad = record(PERF_RECORD_COMM, 0, Buffer(16));
  write_file({kClock}, joined({good, bad}));
  EXPECT_THAT(read(), ElementsAre(HasSubstr(fmt::format(
                          "damaged at byte {}", sizeof(FileHeader) + 8 + sizeof(perf_event_attr) +
                                                    sizeof(FileSection) + good.size()))));
  bad[6] = std::byte{4};
  bad[7] = std::byte{0};
  write_file({kClock}, joined({good, bad}));
  EXPECT_THAT(read(), ElementsAre(HasSubstr("says that it has 4 bytes")));
}

// Of several events, the identifier tells which form a record has.
TEST_F(PerfDataReader, ARecordTooShortForItsIdentifierIsDamage) {
  constexpr std::uint64_t kOld =
      PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID | PERF_SAMPLE_CPU;
  for (const std::uint64_t fields : {kFields, kOld}) {
    for (const std::uint32_t type : {PERF_RECORD_SAMPLE, PERF_RECORD_COMM}) {
      write_file({attr(PERF_TYPE_HARDWARE, 0, fields), attr(PERF_TYPE_HARDWARE, 1, fields)},
                 record(type, 0, {}));
      EXPECT_THAT(
          read(),
          ElementsAre(HasSubstr(fmt::format("a record of type {} has 8 bytes, too few", type))));
    }
  }
}

TEST_F(PerfDataReader, ManyTurnsOfManyCpusComeInOrder) {
  std::mt19937 random(1);
  Buffer data;
  std::uint64_t start = 1000;
  for (int turn = 0; turn < 200; ++turn) {
    std::uint64_t end = start;
    for (int cpu = 0; cpu < 5; ++cpu) {
      std::uint64_t time = start + random() % 50;
      for (int i = 0; i < 100; ++i) {
        put_bytes(data, sample(time, 0x1000 + time));
        time += random() % 100;
      }
      end = std::max(end, time);
    }
    put_bytes(data, round());
    start = end - 40;  // reaches into the turn before
  }
  write_file({kClock}, data);
  auto reader = DataReader::open(path_);
  ASSERT_TRUE(reader);
  std::uint64_t last = 0;
  int count = 0;
  for (auto record = reader->next(); record && *record; record = reader->next(), ++count) {
    const auto& sample = std::get<SampleRecord>((*record)->body);
    EXPECT_EQ(sample.ip, 0x1000 + (*record)->time) << "the bytes of another record";
    EXPECT_GE((*record)->time, last);
    last = (*record)->time;
  }
  EXPECT_EQ(count, 200 * 5 * 100);
}

}  // namespace
}  // namespace xenoprof::perf
