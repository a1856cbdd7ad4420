// SPDX-License-Identifier: GPL-2.0-or-later
// The unwinder on this program's own stack, with the C library's backtrace() as the other opinion.
#include <dlfcn.h>
#include <execinfo.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/resource.h>
#include <ucontext.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "perf/interpret.h"
#include "perf/record_parser.h"
#include "perf/unwind.h"
#include "perf/unwinding_child.h"

namespace xenoprof::perf {
namespace {

using Addresses = std::vector<std::uint64_t>;

constexpr std::uint64_t kMask = 0xff01ff;  // all general registers and the PC
constexpr std::size_t kStackPointer = 7;   // among those, in order
constexpr std::size_t kPc = 8;

std::vector<CodeMapping> own_code() {
  std::vector<CodeMapping> code;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    char dash = 0;
    std::string permissions;
    std::string device;
    std::string inode;
    CodeMapping mapping;
    words >> std::hex >> mapping.start >> dash >> mapping.end >> permissions >>
        mapping.page_offset >> device >> inode >> mapping.path;
    if (permissions[2] == 'x') {
      code.push_back(mapping);
    }
  }
  return code;
}

// What a sample would have brought, and what the runtime finds.
struct Moment {
  Addresses registers;
  Addresses words;      // of the stack
  Addresses backtrace;  // of capture() first, which is at another instruction here

  UserStack user() const {
    return {.mask = kMask,
            .registers = std::as_bytes(std::span(registers)),
            .stack = std::as_bytes(std::span(words))};
  }
};

[[gnu::noinline, gnu::no_sanitize("address")]] void capture(Moment& moment) {
  ucontext_t context;
  ::getcontext(&context);
  const auto& from = context.uc_mcontext.gregs;
  for (const int number :
       {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_RIP, REG_R8,
        REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15}) {
    moment.registers.push_back(static_cast<std::uint64_t>(from[number]));
  }
  pthread_attr_t attributes;
  void* lowest = nullptr;
  std::size_t size = 0;
  ::pthread_getattr_np(::pthread_self(), &attributes);
  ::pthread_attr_getstack(&attributes, &lowest, &size);
  ::pthread_attr_destroy(&attributes);
  const auto end = reinterpret_cast<std::uint64_t>(lowest) + size;
  for (std::uint64_t at = moment.registers[kStackPointer]; at < end; at += 8) {
    const std::uint64_t word = *reinterpret_cast<const volatile std::uint64_t*>(at);
    moment.words.push_back(word);
  }
  std::array<void*, 1024> found{};
  const int count = ::backtrace(found.data(), found.size());
  // A sanitizer's backtrace() begins with its own.
  const auto* const caller =
      std::find(found.begin(), found.begin() + count, __builtin_return_address(0));
  for (auto i = caller - found.begin() - 1; i >= 0 && i < count; ++i) {
    moment.backtrace.push_back(reinterpret_cast<std::uint64_t>(found[static_cast<std::size_t>(i)]));
  }
}

volatile int turns = 0;

[[gnu::noinline]] void recurse(int depth, Moment& moment) {
  if (depth == 0) {
    capture(moment);
  } else {
    recurse(depth - 1, moment);
  }
  turns = turns + 1;  // behind the call, which stays one
}

Moment deep(int depth) {
  Moment moment;
  recurse(depth, moment);
  return moment;
}

// A caller's address is that of its call or, where a signal came, exact.
void expect_same(const Addresses& found, const Addresses& backtrace, int interrupted = 0) {
  ASSERT_EQ(found.size(), backtrace.size());
  for (std::size_t i = 1; i < found.size(); ++i) {
    const bool exact = found[i] == backtrace[i];
    interrupted -= exact ? 1 : 0;
    EXPECT_TRUE(exact || found[i] + 1 == backtrace[i]) << "frame " << i;
  }
  EXPECT_EQ(interrupted, 0);
}

Addresses pcs_of(const Unwinder::Chain& chain) {
  return {chain.pcs.begin(), chain.pcs.end()};
}

TEST(PerfUnwind, FindsTheCallersThatTheRuntimeFinds) {
  const Moment moment = deep(20);
  Unwinder unwinder;
  const auto chain = unwinder.unwind(moment.user(), own_code());
  EXPECT_EQ(chain.end, ChainEnd::kOutermost);
  EXPECT_EQ(chain.pcs[0], moment.registers[kPc]);
  expect_same(pcs_of(chain), moment.backtrace);
}

Moment* of_signal = nullptr;

TEST(PerfUnwind, FindsWhatASignalInterrupted) {
  Moment moment;
  of_signal = &moment;
  std::signal(SIGUSR1, [](int) { capture(*of_signal); });
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, SIG_DFL);
  Unwinder unwinder;
  const auto chain = unwinder.unwind(moment.user(), own_code());
  EXPECT_EQ(chain.end, ChainEnd::kOutermost);
  expect_same(pcs_of(chain), moment.backtrace, 1);
}

TEST(PerfUnwind, EndsWhereTheCopyEnds) {
  const Moment moment = deep(20);
  Unwinder unwinder;
  const Addresses whole = pcs_of(unwinder.unwind(moment.user(), own_code()));
  UserStack user = moment.user();
  const std::size_t half =
      user.stack.size() > 16384 ? std::size_t{1024} : user.stack.size() / 16 * 8;
  user.stack = user.stack.first(half);
  EXPECT_EQ(unwinder.unwind(user, own_code()).end, ChainEnd::kBroken) << "the stack ends there";
  user.more_stack = true;
  const auto cut = unwinder.unwind(user, own_code());
  EXPECT_EQ(cut.end, ChainEnd::kShortStack);
  EXPECT_LT(cut.pcs.size(), whole.size());
  EXPECT_TRUE(std::equal(cut.pcs.begin(), cut.pcs.end(), whole.begin()));
}

TEST(PerfUnwind, DoesNotGoOnForEver) {
  const Moment moment = deep(300);
  Unwinder unwinder;
  const auto chain = unwinder.unwind(moment.user(), own_code());
  EXPECT_EQ(chain.end, ChainEnd::kTooDeep);
  EXPECT_EQ(chain.pcs.size(), Unwinder::kMostFrames);
}

TEST(PerfUnwind, EndsWhereTheFileThatRanIsNotThere) {
  const Moment moment = deep(5);
  Unwinder unwinder;
  for (const auto& [path, build_id] :
       {std::pair("/nowhere/at all", ""), std::pair("/proc/self/exe", "0123"),
        std::pair("/dev/zero", ""), std::pair("", "")}) {
    auto code = own_code();
    for (CodeMapping& mapping : code) {
      mapping.path = path;
      mapping.build_id = build_id;
    }
    const auto chain = unwinder.unwind(moment.user(), code);
    EXPECT_EQ(chain.end, ChainEnd::kNoFile) << path;
    EXPECT_EQ(pcs_of(chain), Addresses{moment.registers[kPc]});
  }
  EXPECT_EQ(unwinder.unwind(moment.user(), {}).end, ChainEnd::kNoFile);
}

TEST(PerfUnwind, EndsAtCodeThatNobodyTellsOf) {
  Moment moment = deep(5);
  const auto code = own_code();
  moment.registers[kPc] = code[0].end - 1;  // behind the last function
  Unwinder unwinder;
  EXPECT_EQ(unwinder.unwind(moment.user(), code).end, ChainEnd::kNoRules);
}

TEST(PerfUnwind, NonsenseIsHarmless) {
  const Moment moment = deep(5);
  const auto code = own_code();
  Unwinder unwinder;
  std::mt19937_64 random(1);
  for (int round = 0; round < 1000; ++round) {
    Moment changed = moment;
    changed.registers[random() % changed.registers.size()] = random() >> random() % 64;
    changed.words[random() % 64] = code[random() % code.size()].start + random() % 4096;
    if (round % 10 == 0) {
      changed.registers[kStackPointer] = ~std::uint64_t{random() % 64};
    }
    UserStack user = changed.user();
    user.more_stack = round % 2 != 0;
    EXPECT_LE(unwinder.unwind(user, code).pcs.size(), Unwinder::kMostFrames);
  }
  EXPECT_EQ(
      unwinder.unwind({.mask = 1, .registers = std::as_bytes(std::span(moment.words))}, code).end,
      ChainEnd::kBroken);
  UserStack narrow = moment.user();
  narrow.narrow = true;
  EXPECT_EQ(unwinder.unwind(narrow, code).end, ChainEnd::kNarrow);
}

TEST(PerfUnwind, TheChildFindsTheSame) {
  const Moment moment = deep(20);
  UnwindingChild child;
  int told = 0;
  for (int i = 0; i < 3; ++i) {
    const auto chain = child.unwind(moment.user(), 7, [&] {
      ++told;
      return own_code();
    });
    EXPECT_EQ(chain.end, ChainEnd::kOutermost);
    expect_same(pcs_of(chain), moment.backtrace);
  }
  EXPECT_EQ(told, 1) << "it knows the mappings by then";
}

// hostile_frames.S: its function asks libdw for two gigabytes.
TEST(PerfUnwind, AHostileFileEndsItsChainsAlone) {
  void* const library = ::dlopen(XENOPROF_HOSTILE_FRAMES, RTLD_NOW);
  ASSERT_NE(library, nullptr) << ::dlerror();
  const Moment moment = deep(20);
  Moment hostile = moment;
  hostile.registers[kPc] = reinterpret_cast<std::uint64_t>(::dlsym(library, "hostile"));
  UnwindingChild child;
  for (int i = 0; i < 3; ++i) {
    const ChainEnd end = child.unwind(hostile.user(), 1, own_code).end;
    EXPECT_TRUE(end == ChainEnd::kNoRules || end == ChainEnd::kFailed);
    expect_same(pcs_of(child.unwind(moment.user(), 1, own_code)), moment.backtrace);
  }
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  EXPECT_LT(usage.ru_maxrss, 1 << 20) << "KiB";
  ::dlclose(library);
}

const Layout kLayout = {
    .events = {{"cpu-clock", 0}}, .call_chains = true, .stack_bytes = 4096, .countings = {{}}};

// A sample as the kernel makes them, with the fields of kLayout and `between` call chain and
// registers.
std::vector<std::byte> sample(const Addresses& chain, const Addresses& between,
                              const Addresses& registers, std::span<const std::uint64_t> stack,
                              std::uint64_t copied, bool user) {
  constexpr std::uint64_t kIp = 0x1000;
  Addresses words = {
      0, event_id(0), chain.empty() ? registers[kPc] : kIp, std::uint64_t{5} << 32 | 5, 77,
      3, chain.size()};
  words.insert(words.end(), chain.begin(), chain.end());
  words.insert(words.end(), between.begin(), between.end());
  words.push_back(registers.empty() ? PERF_SAMPLE_REGS_ABI_NONE : PERF_SAMPLE_REGS_ABI_64);
  words.insert(words.end(), registers.begin(), registers.end());
  words.push_back(stack.size_bytes());
  if (!stack.empty()) {
    words.insert(words.end(), stack.begin(), stack.end());
    words.push_back(copied);
  }
  const perf_event_header header{
      .type = PERF_RECORD_SAMPLE,
      .misc = user ? std::uint16_t{PERF_RECORD_MISC_USER} : std::uint16_t{PERF_RECORD_MISC_KERNEL},
      .size = static_cast<std::uint16_t>(8 * words.size())};
  std::memcpy(words.data(), &header, sizeof header);
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}

const Addresses kRegisters = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

TEST(PerfUserStack, ComesBackAsItWasMade) {
  const Addresses stack = {1, 2, 3};
  RecordParser parser(kLayout);
  const auto bytes = sample({0xffffffff81000010u}, {}, kRegisters, stack, 16, false);
  const auto record = parser.parse(bytes);
  ASSERT_TRUE(record) << record.error().message;
  const auto& user = std::get<SampleRecord>(record->body).user_stack;
  ASSERT_TRUE(user);
  EXPECT_EQ(user->mask, kMask);
  EXPECT_TRUE(std::ranges::equal(user->registers, std::as_bytes(std::span(kRegisters))));
  EXPECT_TRUE(std::ranges::equal(user->stack, std::as_bytes(std::span(stack).first(2))));
  EXPECT_FALSE(user->more_stack) << "it ended after 16 bytes";
}

TEST(PerfUserStack, AThreadOfTheKernelHasNone) {
  RecordParser parser(kLayout);
  const auto bytes = sample({0xffffffff81000010u}, {}, {}, {}, 0, false);
  const auto record = parser.parse(bytes);
  ASSERT_TRUE(record) << record.error().message;
  const auto& user = std::get<SampleRecord>(record->body).user_stack;
  ASSERT_TRUE(user);
  EXPECT_TRUE(user->registers.empty());
  EXPECT_TRUE(user->stack.empty());
}

TEST(PerfUserStack, IsFoundBehindRawDataAndBranches) {
  perf_event_attr attr = {};
  apply(kLayout, attr);
  Attribute attribute{.sample_type = attr.sample_type | PERF_SAMPLE_RAW | PERF_SAMPLE_BRANCH_STACK,
                      .branch_sample_type = 1u << 17,  // with an index of the hardware's
                      .sample_regs_user = attr.sample_regs_user};
  attribute.ids = {event_id(0)};
  RecordParser parser({attribute});
  const Addresses stack = {1, 2, 3};
  const Addresses raw = {std::uint64_t{7} << 32 | 12, 8};
  const Addresses branches = {2, 99, 1, 2, 3, 4, 5, 6};
  Addresses between = raw;
  between.insert(between.end(), branches.begin(), branches.end());
  const auto bytes = sample({1}, between, kRegisters, stack, 24, false);
  const auto record = parser.parse(bytes);
  ASSERT_TRUE(record) << record.error().message;
  const auto& user = std::get<SampleRecord>(record->body).user_stack;
  ASSERT_TRUE(user);
  EXPECT_TRUE(std::ranges::equal(user->registers, std::as_bytes(std::span(kRegisters))));
  EXPECT_TRUE(std::ranges::equal(user->stack, std::as_bytes(std::span(stack))));
  EXPECT_TRUE(user->more_stack);
}

TEST(PerfUserStack, WhatIsCutOffIsAnError) {
  const Addresses stack = {1, 2, 3};
  const auto whole = sample({1}, {}, kRegisters, stack, 24, false);
  RecordParser parser(kLayout);
  for (std::size_t size = sizeof(perf_event_header); size < whole.size(); size += 8) {
    auto cut = whole;
    cut.resize(size);
    const auto told = static_cast<std::uint16_t>(size);
    std::memcpy(cut.data() + offsetof(perf_event_header, size), &told, sizeof told);
    EXPECT_FALSE(parser.parse(cut)) << size;
  }
}

class PerfUserStackInterpreted : public testing::Test {
 protected:
  PerfUserStackInterpreted() {
    RecordBuilder build(kLayout);
    for (const CodeMapping& mapping : own_code()) {
      add(build.mmap(0, 5, 5, mapping.start, mapping.end - mapping.start, mapping.page_offset, {},
                     5, mapping.path));
    }
  }
  void add(Bytes bytes) {
    const auto record = parser_.parse(bytes);
    ASSERT_TRUE(record) << record.error().message;
    interpreter_.add(*record);
  }
  std::size_t depth(const Sample& sample) {
    std::size_t depth = 0;
    for ([[maybe_unused]] const LocationId id : interpreter_.profile().stack(sample)) {
      ++depth;
    }
    return depth;
  }

  RecordParser parser_{kLayout};
  Interpreter interpreter_{kLayout};
};

TEST_F(PerfUserStackInterpreted, CallersInUserCodeFollowTheKernels) {
  const Moment moment = deep(20);
  const std::span<const std::uint64_t> stack =
      std::span(moment.words).first(std::min<std::size_t>(moment.words.size(), 7000));
  add(sample({}, {}, moment.registers, stack, stack.size_bytes(), true));
  add(sample({static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL), 0x1000, 0x2000}, {},
             moment.registers, stack, stack.size_bytes(), false));
  std::vector<std::size_t> depths;
  for (const Sample& one : interpreter_.profile().samples()) {
    depths.push_back(depth(one));
  }
  ASSERT_EQ(depths.size(), 2u);
  EXPECT_EQ(depths[0], moment.backtrace.size());
  EXPECT_EQ(depths[1], moment.backtrace.size() + 2);
  EXPECT_TRUE(interpreter_.notes().empty());
}

TEST_F(PerfUserStackInterpreted, ANoteTellsHowManyChainsAreCutAndWhy) {
  const Moment moment = deep(20);
  const std::span<const std::uint64_t> stack = std::span(moment.words).first(100);
  add(sample({}, {}, moment.registers, stack, stack.size_bytes(), true));
  add(sample({}, {}, moment.registers, stack, stack.size_bytes(), true));
  add(sample({0x1000}, {}, {}, {}, 0, false));
  const auto notes = interpreter_.notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0],
            "Of 2 call chains in user code 2 are cut short: 2 where the copy of the stack ends (a "
            "larger one helps).");
}

}  // namespace
}  // namespace xenoprof::perf
