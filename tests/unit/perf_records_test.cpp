// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <cstring>
#include <string>
#include <variant>

#include "perf/call_chain.h"
#include "perf/record_parser.h"
#include "perf/records.h"
#include "perf/tracepoint.h"

namespace xenoprof::perf {
namespace {

constexpr auto kKernelContext = static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL);
constexpr auto kUserContext = static_cast<std::uint64_t>(PERF_CONTEXT_USER);

const Layout kLayout = {.events = {{"instructions", 1000000}, {"cycles", 2000000}},
                        .call_chains = true};

template <class T>
T parse(Bytes bytes, std::uint64_t* time = nullptr) {
  RecordParser parser(kLayout);
  const auto record = parser.parse(bytes);
  EXPECT_TRUE(record) << record.error().message;
  if (time != nullptr) {
    *time = record->time;
  }
  return std::get<T>(record->body);
}

TEST(PerfRecords, SampleComesBackAsItWasMade) {
  RecordBuilder builder(kLayout);
  const std::uint64_t chain[] = {kKernelContext, 0xffffffff81000010u, 0xffffffff81000200u,
                                 kUserContext, 0x401000};
  RecordParser parser(kLayout);
  const auto record =
      parser.parse(builder.sample(77, 1, Mode::kKernel, 0xffffffff81000010u, 100, 101, 3, chain));
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->time, 77u);
  const auto& sample = std::get<SampleRecord>(record->body);
  EXPECT_EQ(sample.ip, 0xffffffff81000010u);
  EXPECT_EQ(sample.pid, 100);
  EXPECT_EQ(sample.tid, 101);
  EXPECT_EQ(sample.cpu, 3u);
  EXPECT_EQ(sample.event, 1u);
  EXPECT_FALSE(sample.user);
  EXPECT_EQ(std::vector(sample.call_chain.begin(), sample.call_chain.end()),
            std::vector(std::begin(chain), std::end(chain)));
}

TEST(PerfRecords, SidebandComesBackAsItWasMade) {
  RecordBuilder builder(kLayout);
  std::uint64_t time = 0;
  const auto mmap = parse<MmapRecord>(
      builder.mmap(5, 1, 2, 0x1000, 0x2000, 0x3000, {8, 1, 42}, 5, "/bin/true"), &time);
  EXPECT_EQ(time, 5u);
  EXPECT_EQ(mmap.path, "/bin/true");
  EXPECT_EQ(mmap.start, 0x1000u);
  EXPECT_EQ(mmap.length, 0x2000u);
  EXPECT_EQ(mmap.page_offset, 0x3000u);
  EXPECT_FALSE(mmap.kernel);
  EXPECT_TRUE(mmap.build_id.empty());
  EXPECT_TRUE(parse<MmapRecord>(builder.kernel_mmap(1, 2, 3, "[x]")).kernel);
  const auto comm = parse<CommRecord>(builder.comm(6, 1, 2, "name", true));
  EXPECT_EQ(comm.name, "name");
  EXPECT_TRUE(comm.exec);
  EXPECT_FALSE(parse<CommRecord>(builder.comm(6, 1, 2, "name", false)).exec);
  const auto fork = parse<ForkRecord>(builder.fork(7, {3, 1, 4, 2}));
  EXPECT_EQ(fork.pid, 3);
  EXPECT_EQ(fork.parent_pid, 1);
  EXPECT_EQ(fork.tid, 4);
  EXPECT_EQ(fork.parent_tid, 2);
  EXPECT_EQ(parse<ExitRecord>(builder.exit(8, {3, 4})).tid, 4);
  EXPECT_EQ(parse<LostRecord>(builder.lost(9, 0, event_id(0), 12)).count, 12u);
  const auto symbol = parse<KsymbolRecord>(builder.ksymbol({0x10, 0x20, true, "f"}));
  EXPECT_EQ(symbol.name, "f");
  EXPECT_TRUE(symbol.removed);
}

TEST(PerfRecords, BuildIdOfTheKernelIsRead) {
  RecordBuilder builder(kLayout);
  const Bytes made = builder.mmap(5, 1, 2, 0x1000, 0x2000, 0, {}, 5, "/bin/true");
  std::vector<std::byte> bytes(made.begin(), made.end());
  perf_event_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.misc |= PERF_RECORD_MISC_MMAP_BUILD_ID;
  std::memcpy(bytes.data(), &header, sizeof header);
  const std::size_t at = sizeof header + 32;
  bytes[at] = std::byte{3};
  bytes[at + 4] = std::byte{0xab};
  const auto mmap = parse<MmapRecord>(bytes);
  ASSERT_EQ(mmap.build_id.size(), 3u);
  EXPECT_EQ(mmap.build_id[0], std::byte{0xab});
  // A size beyond the field is cut to it.
  bytes[at] = std::byte{255};
  EXPECT_EQ(parse<MmapRecord>(bytes).build_id.size(), 20u);
}

TEST(PerfRecords, TextWithoutEndStaysWithinItsRecord) {
  RecordBuilder builder(kLayout);
  const Bytes made = builder.comm(6, 1, 2, "sevench", true);
  std::vector<std::byte> bytes(made.begin(), made.end());
  bytes[sizeof(perf_event_header) + 8 + 7] = std::byte{'!'};  // where the zero was
  EXPECT_EQ(parse<CommRecord>(bytes).name, "sevench!");
}

TEST(PerfRecords, ShortenedRecordsAreErrors) {
  RecordBuilder builder(kLayout);
  const std::uint64_t chain[] = {kUserContext, 1};
  std::vector<std::vector<std::byte>> all;
  const auto add = [&](Bytes bytes) { all.emplace_back(bytes.begin(), bytes.end()); };
  add(builder.sample(1, 0, Mode::kUser, 1, 1, 1, 0, chain));
  add(builder.mmap(1, 1, 1, 0, 1, 0, {}, 5, ""));
  add(builder.comm(1, 1, 1, "", false));
  add(builder.fork(1, {}));
  add(builder.lost(1, 0, 1, 1));
  add(builder.ksymbol({}));
  RecordParser parser(kLayout);
  for (const auto& whole : all) {
    ASSERT_TRUE(parser.parse(whole));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      // Cut off, and with a header that knows of the cut.
      std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<long>(size));
      EXPECT_FALSE(parser.parse(cut));
      if (size >= sizeof(perf_event_header) && size + 8 <= whole.size() - 8) {
        const auto told = static_cast<std::uint16_t>(size);
        std::memcpy(cut.data() + offsetof(perf_event_header, size), &told, sizeof told);
        EXPECT_FALSE(parser.parse(cut)) << size << " of " << whole.size();
      }
    }
  }
}

TEST(PerfRecords, CallChainLongerThanItsRecordIsAnError) {
  RecordBuilder builder(kLayout);
  const Bytes made = builder.sample(1, 0, Mode::kUser, 1, 1, 1, 0, {});
  std::vector<std::byte> bytes(made.begin(), made.end());
  RecordParser parser(kLayout);
  ASSERT_TRUE(parser.parse(bytes));
  for (const std::uint64_t length : {std::uint64_t{1}, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    std::memcpy(bytes.data() + 48, &length, sizeof length);
    EXPECT_FALSE(parser.parse(bytes));
  }
}

TEST(PerfRecords, SampleOfAnEventThatWasNotAnnouncedIsAnError) {
  RecordBuilder builder(kLayout);
  RecordParser parser(kLayout);
  EXPECT_TRUE(parser.parse(builder.sample(1, 1, Mode::kUser, 1, 1, 1, 0, {})));
  EXPECT_FALSE(parser.parse(builder.sample(1, 2, Mode::kUser, 1, 1, 1, 0, {})));
  EXPECT_FALSE(parser.parse(builder.sample(1, ~std::size_t{0} - 2, Mode::kUser, 1, 1, 1, 0, {})));
}

TEST(PerfRecords, RecordsAreTakenOffAStreamOneByOne) {
  RecordBuilder builder(kLayout);
  const Bytes first = builder.comm(1, 1, 1, "one", false);
  std::vector<std::byte> stream(first.begin(), first.end());
  const std::size_t size = stream.size();
  const Bytes second = builder.lost(1, 0, 1, 1);
  stream.insert(stream.end(), second.begin(), second.end());
  const auto taken = first_record(stream);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->size(), size);
  EXPECT_TRUE(first_record(Bytes(stream).subspan(size)));
  EXPECT_FALSE(first_record({}));
  // A size below the header's would never get on.
  stream[6] = stream[7] = std::byte{0};
  EXPECT_FALSE(first_record(stream));
}

TEST(PerfRecords, OverlongCallChainsAndPathsFitIntoARecord) {
  RecordBuilder builder(kLayout);
  const std::vector<std::uint64_t> chain(20000, 1);
  EXPECT_EQ(parse<SampleRecord>(builder.sample(1, 0, Mode::kUser, 1, 1, 1, 0, chain)).ip, 1u);
  const std::string path(70000, 'x');
  EXPECT_GT(parse<MmapRecord>(builder.kernel_mmap(1, 2, 3, path)).length, 0u);
}

TEST(PerfCallChain, BeginsAtTheSampledPc) {
  // The handler, the interrupted kernel function, its caller, the process.
  std::vector<std::uint64_t> chain = {kKernelContext, 10, 11, 12, 50, 60, kUserContext, 70, 80};
  cut_call_chain(50, Mode::kKernel, true, chain);
  EXPECT_EQ(chain, (std::vector<std::uint64_t>{kKernelContext, 50, 60, kUserContext, 70, 80}));
}

TEST(PerfCallChain, OfAUserSampleHasNothingOfTheHandler) {
  std::vector<std::uint64_t> chain = {kKernelContext, 10, 70, 12, kUserContext, 70, 80};
  cut_call_chain(70, Mode::kUser, true, chain);
  EXPECT_EQ(chain, (std::vector<std::uint64_t>{kUserContext, 70, 80}));
}

TEST(PerfCallChain, IsThePcAloneWhereItBelongsToAnotherPlace) {
  const std::vector<std::uint64_t> recorded = {kKernelContext, 10, kUserContext, 70, 80};
  auto chain = recorded;
  cut_call_chain(70, Mode::kUser, false, chain);
  EXPECT_EQ(chain, (std::vector<std::uint64_t>{kUserContext, 70}));
  chain = recorded;
  cut_call_chain(kXenStart + 5, Mode::kHypervisor, true, chain);
  EXPECT_EQ(chain, (std::vector<std::uint64_t>{kKernelContext, kXenStart + 5}));
  chain = recorded;
  cut_call_chain(70, Mode::kKernel, true, chain);
  EXPECT_EQ(chain, (std::vector<std::uint64_t>{kKernelContext, 70}));
}

constexpr char kFormat[] =
    "name: sample\nID: 1234\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
    "\tfield:u64 ip;\toffset:8;\tsize:8;\tsigned:0;\n"
    "\tfield:u16 domain;\toffset:16;\tsize:2;\tsigned:0;\n"
    "\tfield:u16 vcpu;\toffset:18;\tsize:2;\tsigned:0;\n"
    "\tfield:u8 mode;\toffset:20;\tsize:1;\tsigned:0;\n"
    "\tfield:u8 event;\toffset:21;\tsize:1;\tsigned:0;\n"
    "\tfield:u8 exact;\toffset:22;\tsize:1;\tsigned:0;\n\n"
    "print fmt: \"ip=%llx\", REC->ip\n";

TEST(PerfTracepoint, FieldsAreFoundByName) {
  const auto tracepoint = Tracepoint::parse(kFormat, "xenoprof:sample");
  ASSERT_TRUE(tracepoint) << tracepoint.error().message;
  EXPECT_EQ(tracepoint->id(), 1234u);
  std::vector<std::byte> raw(24);
  const std::uint64_t ip = 0xffffffff81000010u;
  std::memcpy(raw.data() + 8, &ip, sizeof ip);
  raw[16] = std::byte{0xf0};
  raw[17] = std::byte{0x7f};
  raw[18] = std::byte{2};
  raw[20] = std::byte{1};
  raw[21] = std::byte{3};
  raw[22] = std::byte{1};
  TracepointSample sample;
  ASSERT_TRUE(tracepoint->decode(raw, sample));
  EXPECT_EQ(sample.ip, ip);
  EXPECT_EQ(sample.domain, 0x7ff0);
  EXPECT_EQ(sample.vcpu, 2);
  EXPECT_EQ(sample.mode, Mode::kKernel);
  EXPECT_EQ(sample.event, 3);
  EXPECT_TRUE(sample.exact);
  raw[20] = std::byte{3};
  EXPECT_FALSE(tracepoint->decode(raw, sample)) << "no such mode";
  raw[20] = std::byte{0};
  EXPECT_FALSE(tracepoint->decode(Bytes(raw).first(22), sample));
}

TEST(PerfTracepoint, AnotherDriversFormatIsRefused) {
  std::string format = kFormat;
  format.replace(format.find("exact;"), 5, "exakt");
  const auto tracepoint = Tracepoint::parse(format, "xenoprof:sample");
  ASSERT_FALSE(tracepoint);
  EXPECT_NE(tracepoint.error().message.find("`exact`"), std::string::npos);
  EXPECT_FALSE(Tracepoint::parse("", "xenoprof:sample"));
}

}  // namespace
}  // namespace xenoprof::perf
