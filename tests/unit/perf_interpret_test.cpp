// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "perf/interpret.h"
#include "perf/record_parser.h"

namespace xenoprof::perf {
namespace {

constexpr auto kKernelContext = static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL);
constexpr auto kUserContext = static_cast<std::uint64_t>(PERF_CONTEXT_USER);

const Layout kLayout = {.events = {{"instructions", 1000000}, {"cycles", 2000000}},
                        .call_chains = true};

// "process pid/tid vcpu mode image+address<image+address...: instructions,cycles"
std::vector<std::string> lines(const Profile& profile) {
  std::vector<std::string> result;
  for (const Sample& sample : profile.samples()) {
    std::string stack;
    for (const LocationId id : profile.stack(sample)) {
      const Location& location = profile.locations()[id];
      stack += fmt::format("{}{}+{:x}", stack.empty() ? "" : "<",
                           profile.text(profile.images()[location.image].name), location.address);
    }
    result.push_back(fmt::format(
        "{} {}/{} {} {} {}: {}", profile.text(sample.key.process), sample.key.pid, sample.key.tid,
        sample.key.vcpu, to_string(sample.key.mode), stack, fmt::join(sample.samples, ",")));
  }
  return result;
}

class PerfInterpreter : public testing::Test {
 protected:
  void add(Bytes bytes) {
    const auto record = parser_.parse(bytes);
    ASSERT_TRUE(record) << record.error().message;
    for (Interpreter* const one : add_to_) {
      one->add(*record);
    }
  }
  void mmap(int pid, std::uint64_t start, std::uint64_t length, std::uint64_t offset,
            std::string_view path) {
    add(build_.mmap(0, pid, pid, start, length, offset, {}, 5, path));
  }
  void user_sample(int pid, int tid, std::uint64_t ip) {
    add(build_.sample(1, 0, Mode::kUser, ip, pid, tid, 0, {}));
  }
  std::vector<std::string> result() { return lines(interpreter_.profile()); }

  RecordBuilder build_{kLayout};
  RecordParser parser_{kLayout};
  Interpreter interpreter_{kLayout};
  std::vector<Interpreter*> add_to_ = {&interpreter_};
};

using Lines = std::vector<std::string>;

TEST_F(PerfInterpreter, UserAddressIsAnOffsetInItsFile) {
  add(build_.comm(0, 7, 7, "prog", false));
  mmap(7, 0x400000, 0x1000, 0x2000, "/bin/prog");
  user_sample(7, 7, 0x400123);
  user_sample(7, 7, 0x400123);
  EXPECT_EQ(result(), Lines{"prog 7/7 0 user /bin/prog+2123: 2,0"});
}

TEST(PerfInterpreterNotes, SamplesThatStandForUnlikeNumbersOfEventsAreToldOf) {
  for (const std::uint64_t largest : {1100u, 200'000u}) {
    const Layout layout{.events = {{"page-faults", 0}}};
    Interpreter interpreter(layout);
    for (int i = 0; i < 100; ++i) {
      interpreter.add({.time = 1, .body = SampleRecord{.period = i % 10 == 0 ? largest : 1000}});
    }
    const auto notes = interpreter.notes();
    ASSERT_EQ(notes.size(), largest > 10'000 ? 1u : 0u);
    if (!notes.empty()) {
      EXPECT_NE(notes[0].find("stands for up to 200,000 of them"), std::string::npos) << notes[0];
    }
  }
}

// Those that stand for little are many samples, and hardly any of the events.
TEST(PerfInterpreterNotes, FewOfManySamplesThatStandForNextToNothingAreToldOf) {
  const Layout layout{.events = {{"branch-misses", 0}}};
  Interpreter interpreter(layout);
  for (int i = 0; i < 100; ++i) {
    interpreter.add({.time = 1, .body = SampleRecord{.period = i % 5 == 0 ? 1u : 1'000'000u}});
  }
  const auto notes = interpreter.notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("up to 20 points other"), std::string::npos) << notes[0];
}

// As of two CPUs, one of which is half as busy.
TEST(PerfInterpreterNotes, SamplesThatStandForTwiceAsManyAreToldOf) {
  const Layout layout{.events = {{"instructions", 0}}};
  Interpreter interpreter(layout);
  for (int i = 0; i < 100; ++i) {
    interpreter.add(
        {.time = 1, .body = SampleRecord{.period = i % 2 == 0 ? 1'050'000u : 2'000'000u}});
  }
  const auto notes = interpreter.notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("up to 16 points other"), std::string::npos) << notes[0];
}

TEST_F(PerfInterpreter, EventsAndVcpusAreKeptApart) {
  add(build_.comm(0, 7, 7, "prog", false));
  add(build_.sample(1, 1, Mode::kUser, 5, 7, 8, 3, {}));
  add(build_.sample(1, 0, Mode::kUser, 5, 7, 8, 2, {}));
  EXPECT_EQ(result(), (Lines{":8 7/8 3 user [unknown]+5: 0,1", ":8 7/8 2 user [unknown]+5: 1,0"}));
}

TEST_F(PerfInterpreter, MemoryThatIsNoFileIsUnknownOrOfItsProcess) {
  mmap(7, 0x1000, 0x1000, 0, "//anon");
  mmap(7, 0x2000, 0x1000, 0, "[heap]");
  mmap(7, 0x3000, 0x1000, 0, "/memfd:jit (deleted)");
  mmap(7, 0x7000, 0x1000, 0x7000, "[vdso]");
  user_sample(7, 7, 0x1010);
  user_sample(7, 7, 0x2010);
  user_sample(7, 7, 0x3010);
  user_sample(7, 7, 0x4010);
  user_sample(7, 7, 0x7010);
  EXPECT_EQ(result(),
            (Lines{":7 7/7 0 user /tmp/perf-7.map+1010: 1,0", ":7 7/7 0 user [unknown]+2010: 1,0",
                   ":7 7/7 0 user [unknown]+3010: 1,0", ":7 7/7 0 user [unknown]+4010: 1,0",
                   ":7 7/7 0 user [vdso]+10: 1,0"}));
}

TEST_F(PerfInterpreter, NewMappingCutsTheOldOne) {
  mmap(7, 0x10000, 0x10000, 0x100000, "/old");
  mmap(7, 0x14000, 0x4000, 0, "/new");
  for (const std::uint64_t pc : {0x13fff, 0x14000, 0x17fff, 0x18000, 0x20000}) {
    user_sample(7, 7, pc);
  }
  EXPECT_EQ(result(), (Lines{":7 7/7 0 user /old+103fff: 1,0", ":7 7/7 0 user /new+0: 1,0",
                             ":7 7/7 0 user /new+3fff: 1,0", ":7 7/7 0 user /old+108000: 1,0",
                             ":7 7/7 0 user [unknown]+20000: 1,0"}));
}

TEST_F(PerfInterpreter, MappingCoversSeveralOldOnes) {
  mmap(7, 0x1000, 0x1000, 0, "/a");
  mmap(7, 0x2000, 0x1000, 0, "/b");
  mmap(7, 0x3000, 0x1000, 0, "/c");
  mmap(7, 0x1800, 0x2000, 0, "/d");
  for (const std::uint64_t pc : {0x17ff, 0x1800, 0x2000, 0x37ff, 0x3800}) {
    user_sample(7, 7, pc);
  }
  EXPECT_EQ(result(), (Lines{":7 7/7 0 user /a+7ff: 1,0", ":7 7/7 0 user /d+0: 1,0",
                             ":7 7/7 0 user /d+800: 1,0", ":7 7/7 0 user /d+1fff: 1,0",
                             ":7 7/7 0 user /c+800: 1,0"}));
}

TEST_F(PerfInterpreter, ForkSharesMappingsUntilOneOfThemChanges) {
  add(build_.comm(0, 7, 7, "parent", false));
  mmap(7, 0x1000, 0x1000, 0, "/prog");
  add(build_.fork(1, {8, 7, 8, 7}));
  mmap(8, 0x2000, 0x1000, 0, "/plugin");
  mmap(7, 0x2000, 0x1000, 0, "/other");
  user_sample(8, 8, 0x1010);
  user_sample(8, 8, 0x2010);
  user_sample(7, 7, 0x2010);
  EXPECT_EQ(result(), (Lines{"parent 8/8 0 user /prog+10: 1,0", "parent 8/8 0 user /plugin+10: 1,0",
                             "parent 7/7 0 user /other+10: 1,0"}));
}

TEST_F(PerfInterpreter, ExecForgetsMappingsAndARenamingDoesNot) {
  mmap(7, 0x1000, 0x1000, 0, "/shell");
  add(build_.fork(1, {8, 7, 8, 7}));
  add(build_.comm(2, 8, 8, "renamed", false));
  user_sample(8, 8, 0x1010);
  add(build_.comm(3, 8, 8, "prog", true));
  user_sample(8, 8, 0x1010);
  user_sample(7, 7, 0x1010);
  EXPECT_EQ(result(),
            (Lines{"renamed 8/8 0 user /shell+10: 1,0", "prog 8/8 0 user [unknown]+1010: 1,0",
                   ":7 7/7 0 user /shell+10: 1,0"}));
}

TEST_F(PerfInterpreter, ThreadsHaveTheirProcessesMappingsAndNamesOfTheirOwn) {
  add(build_.comm(0, 7, 7, "main", false));
  mmap(7, 0x1000, 0x1000, 0, "/prog");
  add(build_.fork(1, {7, 7, 9, 7}));
  user_sample(7, 9, 0x1010);
  add(build_.comm(2, 7, 9, "worker", false));
  user_sample(7, 9, 0x1010);
  user_sample(7, 7, 0x1010);
  EXPECT_EQ(result(), (Lines{"main 7/9 0 user /prog+10: 1,0", "worker 7/9 0 user /prog+10: 1,0",
                             "main 7/7 0 user /prog+10: 1,0"}));
}

TEST_F(PerfInterpreter, SampleAfterItsProcessEndedStillHasItsImage) {
  mmap(7, 0x1000, 0x1000, 0, "/prog");
  add(build_.exit(1, {7, 7}));
  user_sample(7, 7, 0x1010);
  EXPECT_EQ(result(), Lines{":7 7/7 0 user /prog+10: 1,0"});
}

TEST_F(PerfInterpreter, ManyShortProcessesDoNotFillTheMemory) {
  constexpr int kProcesses = 140'000;
  for (int i = 0; i < kProcesses; ++i) {
    const int pid = 2 + i;
    add(build_.fork(1, {pid, 1, pid, 1}));
    add(build_.comm(1, pid, pid, "sh", true));
    for (unsigned page = 0; page < 8; ++page) {
      mmap(pid, page * 0x1000, 0x1000, 0, "/prog");
    }
    add(build_.exit(1, {pid, pid}));
  }
  user_sample(kProcesses, kProcesses, 0x1010);
  EXPECT_EQ(result(), Lines{"sh 140000/140000 0 user /prog+10: 1,0"});
}

TEST_F(PerfInterpreter, KernelModulesAndXenAreKnownByTheirAddresses) {
  add(xen_mmap(build_));
  add(build_.kernel_mmap(0xffffffff81000000u, 0x1000000, 0xffffffff81000000u,
                         "[kernel.kallsyms]_text"));
  add(build_.kernel_mmap(0xffffffffc0000000u, 0x4000, 0, "/lib/modules/x/net/xen-netback.ko.xz"));
  add(build_.kernel_mmap(0xffffffffc0004000u, 0x4000, 0, "[bridge]"));
  for (const std::uint64_t pc :
       {0xffffffff81000010u, 0xffffffffc0000010u, 0xffffffffc0004010u, 0xffffffffd0000000u}) {
    add(build_.sample(1, 0, Mode::kKernel, pc, 0, 0, 0, {}));
  }
  add(build_.sample(1, 0, Mode::kHypervisor, 0xffff82d040201234u, 7, 7, 0, {}));
  EXPECT_EQ(result(), (Lines{"swapper 0/0 0 kernel [kernel]+ffffffff81000010: 1,0",
                             "swapper 0/0 0 kernel [xen_netback]+ffffffffc0000010: 1,0",
                             "swapper 0/0 0 kernel [bridge]+ffffffffc0004010: 1,0",
                             "swapper 0/0 0 kernel [kernel]+ffffffffd0000000: 1,0",
                             ":7 7/7 0 hypervisor [xen]+ffff82d040201234: 1,0"}));
}

TEST_F(PerfInterpreter, TellsWhereTheKernelAndItsModulesWere) {
  add(xen_mmap(build_));
  add(build_.kernel_mmap(0xffffffff81001000, 0x1000000, 0xffffffff81000000,
                         "[kernel.kallsyms]_text"));
  add(build_.kernel_mmap(0xffffffffc0000000, 0x4000, 0, "/lib/modules/1/xen-netback.ko"));
  EXPECT_EQ(interpreter_.loaded_at(),
            (std::map<std::string, std::uint64_t>{{"[kernel]", 0xffffffff81000000},
                                                  {"[xen_netback]", 0xffffffffc0000000}}));
  Interpreter hidden(kLayout);
  hidden.add(
      *parser_.parse(build_.kernel_mmap(0xffffffff80000000, 0x1000000, 0, "[kernel.kallsyms]")));
  EXPECT_TRUE(hidden.loaded_at().empty());
}

TEST_F(PerfInterpreter, StackIsLeafFirstAndCallersAreTheirCalls) {
  mmap(7, 0x1000, 0x1000, 0, "/prog");
  const std::uint64_t pc = 0xffffffff81000010u;
  add(build_.sample(
      1, 0, Mode::kKernel, pc, 7, 7, 0,
      std::vector<std::uint64_t>{kKernelContext, pc, pc + 0x100, kUserContext, 0x1010, 0x1100}));
  EXPECT_EQ(result(), Lines{":7 7/7 0 kernel [kernel]+ffffffff81000010<[kernel]+ffffffff8100010f<"
                            "/prog+10</prog+ff: 1,0"});
}

// More samples than are handed over at once, on CPUs in turn, whose chains have some of the callers
// of the one before.
TEST_F(PerfInterpreter, StacksAreTheSameWhateverCameBeforeAndWhoeverCountsThem) {
  Interpreter threaded(kLayout, Interpreter::Kind::kOwn, {}, StackCounter::Where::kInThread);
  add_to_ = {&interpreter_, &threaded};
  mmap(7, 0, 0x1000, 0, "/prog");
  std::map<std::string, int> expected;
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) {
    const std::uint64_t leaf = random() % 4;
    const std::uint32_t cpu = random() % 3;
    std::vector<std::uint64_t> chain = {kUserContext, leaf};
    std::string stack = fmt::format("/prog+{:x}", leaf);
    for (std::uint32_t callers = random() % 5; callers > 0; --callers) {
      chain.push_back(0x10 * (1 + random() % 2 + callers));
      stack += fmt::format("</prog+{:x}", chain.back() - 1);
    }
    if (random() % 8 == 0) {
      chain.clear();
      stack = fmt::format("/prog+{:x}", leaf);
    }
    add(build_.sample(1, 0, Mode::kUser, leaf, 7, 7, cpu, chain));
    ++expected[fmt::format(":7 7/7 {} user {}", cpu, stack)];
  }
  Lines counted;
  for (const auto& [text, samples] : expected) {
    counted.push_back(fmt::format("{}: {},0", text, samples));
  }
  EXPECT_EQ(result(), lines(threaded.profile()));
  EXPECT_THAT(result(), testing::UnorderedElementsAreArray(counted));
}

TEST_F(PerfInterpreter, ProfileCanBeReadInBetween) {
  user_sample(7, 7, 1);
  EXPECT_EQ(interpreter_.profile().total(0), 1u);
  interpreter_.profile().set_symbol(0, interpreter_.profile().intern("main"));
  user_sample(7, 7, 1);
  EXPECT_EQ(result().size(), 1u);
  EXPECT_EQ(interpreter_.profile().total(0), 2u);
}

TEST_F(PerfInterpreter, ImagesWithoutSamplesAreNotInTheProfile) {
  mmap(7, 0x1000, 0x1000, 0, "/never");
  mmap(7, 0x2000, 0x1000, 0, "/prog");
  user_sample(7, 7, 0x2000);
  ASSERT_EQ(interpreter_.profile().images().size(), 1u);
}

TEST_F(PerfInterpreter, AbsurdMappingsAreHarmless) {
  mmap(7, ~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}, "/a");
  mmap(7, 0, ~std::uint64_t{0}, 0, "/b");
  mmap(7, 0x1000, 0, 0, "/empty");
  user_sample(7, 7, 0x1000);
  EXPECT_EQ(result(), Lines{":7 7/7 0 user /b+1000: 1,0"});
}

TEST_F(PerfInterpreter, AProcessWithAnEmptyMappingAloneHasNone) {
  mmap(7, 0x1000, 0, 0, "/empty");
  user_sample(7, 7, 0);
  EXPECT_EQ(result(), Lines{":7 7/7 0 user [unknown]+0: 1,0"});
}

// A parent with many mappings and children that each add one would need their product in memory.
TEST_F(PerfInterpreter, ForksDoNotMultiplyMappingsWithoutBound) {
  constexpr int kMappings = 40000;
  for (int i = 0; i < kMappings; ++i) {
    mmap(1, std::uint64_t{0x1000} * static_cast<unsigned>(2 * i), 0x1000, 0, "/a");
  }
  for (int child = 2; child < 50; ++child) {
    add(build_.fork(1, {child, 1, child, 1}));
    mmap(child, 0x1000, 0x1000, 0, "/b");
  }
  user_sample(2, 2, 0x1010);
  user_sample(49, 49, 0x1010);  // what came too late is not kept
  user_sample(49, 49, 0x2010);
  EXPECT_EQ(result(), (Lines{":2 2/2 0 user /b+10: 1,0", ":49 49/49 0 user [unknown]+1010: 1,0",
                             ":49 49/49 0 user /a+10: 1,0"}));
}

TEST_F(PerfInterpreter, WhatBecomesOfAThreadCountsFromItsNextSampleOn) {
  add(build_.comm(0, 7, 7, "one", false));
  mmap(7, 0x1000, 0x1000, 0, "/a");
  user_sample(7, 7, 0x1010);
  add(build_.comm(0, 7, 7, "two", false));
  user_sample(7, 7, 0x1010);
  mmap(7, 0x1000, 0x1000, 0, "/b");
  user_sample(7, 7, 0x1010);
  EXPECT_EQ(result(), (Lines{"one 7/7 0 user /a+10: 1,0", "two 7/7 0 user /a+10: 1,0",
                             "two 7/7 0 user /b+10: 1,0"}));
}

TEST_F(PerfInterpreter, ThreadsLeftOutAreOne) {
  interpreter_ = Interpreter(kLayout, Interpreter::Kind::kOwn, {.threads = false});
  for (const int tid : {7, 8}) {
    add(build_.comm(0, 7, tid, "prog", false));
    add(build_.sample(1, 0, Mode::kUser, 5, 7, tid, static_cast<std::uint32_t>(tid), {}));
  }
  EXPECT_EQ(result(), Lines{"prog 0/0 0 user [unknown]+5: 2,0"});
}

// A KVM host's records: guests' samples bear the number of the process that serves them.
class PerfHostInterpreter : public PerfInterpreter {
 protected:
  static constexpr int kMonitor = 40;
  static constexpr int kOther = 50;

  void SetUp() override {
    add(build_.comm(0, kMonitor, 41, "CPU 0/KVM", false));
    add(build_.comm(0, kOther, kOther, "prog", false));
  }
  void guest_sample(int pid, std::uint64_t ip) {
    const Bytes record = build_.sample(1, 0, Mode::kKernel, ip, pid, pid + 1, 0, {});
    std::vector<std::byte> bytes(record.begin(), record.end());
    // The kernel's idea of the mode may be wrong: the address tells.
    const std::uint16_t misc = PERF_RECORD_MISC_GUEST_USER;
    std::memcpy(bytes.data() + offsetof(perf_event_header, misc), &misc, sizeof misc);
    add(bytes);
  }
  void add_all() {
    guest_sample(kMonitor, 0xffffffff81000010);
    guest_sample(kMonitor, 0x400010);
    add(build_.sample(1, 0, Mode::kKernel, 0xffffffff82000010, kMonitor, 41, 0, {}));
    add(build_.sample(1, 0, Mode::kUser, 0x1010, kMonitor, 41, 0, {}));
    add(build_.sample(1, 0, Mode::kUser, 0x2020, kOther, kOther, 0, {}));
  }
};

TEST_F(PerfHostInterpreter, WhatIsDoneForAMachineIsItsHypervisorsWork) {
  interpreter_.set_machines("host", {{kMonitor, "guest1"}});
  add_all();
  EXPECT_EQ(result(), (Lines{"CPU 0/KVM 40/41 0 hypervisor [kernel]+ffffffff82000010: 1,0",
                             "CPU 0/KVM 40/41 0 hypervisor [unknown]+1010: 1,0",
                             "prog 50/50 0 user [unknown]+2020: 1,0"}));
  std::vector<std::string> domains;
  const Profile& profile = interpreter_.profile();
  for (const Sample& sample : profile.samples()) {
    domains.emplace_back(profile.text(sample.key.domain));
  }
  EXPECT_EQ(domains, (Lines{"guest1", "guest1", "host"}));
}

TEST_F(PerfHostInterpreter, AGuestIsSeenFromOutside) {
  Interpreter outside(kLayout, Interpreter::Kind::kPassive);
  outside.guest_samples_only(kMonitor);
  add_to_ = {&outside};
  add_all();
  guest_sample(kOther, 0x400010);
  EXPECT_EQ(lines(outside.profile()),
            (Lines{"[kernel] 40/41 0 kernel [kernel]+ffffffff81000010: 1,0",
                   "[user] 40/41 0 user [user]+0: 1,0"}));
}

TEST(PerfPassiveInterpreter, KnowsModesAndKernelAddressesOnly) {
  RecordBuilder build(kLayout);
  RecordParser parser(kLayout);
  Interpreter interpreter(kLayout, Interpreter::Kind::kPassive);
  const auto head = passive_head(kLayout);
  for (Bytes rest = head; !rest.empty();) {
    const auto record = first_record(rest);
    ASSERT_TRUE(record);
    interpreter.add(*parser.parse(*record));
    rest = rest.subspan(record->size());
  }
  interpreter.add(*parser.parse(build.sample(1, 0, Mode::kUser, 0x1234, 0, 0, 1, {})));
  interpreter.add(*parser.parse(build.sample(2, 0, Mode::kUser, 0x5678, 0, 0, 1, {})));
  interpreter.add(
      *parser.parse(build.sample(3, 0, Mode::kKernel, 0xffffffff81000010u, 0, 0, 0, {})));
  interpreter.add(
      *parser.parse(build.sample(3, 0, Mode::kHypervisor, 0xffff82d040000010u, 0, 0, 0, {})));
  EXPECT_EQ(lines(interpreter.profile()),
            (Lines{"[user] 0/0 1 user [user]+0: 2,0",
                   "[kernel] 0/0 0 kernel [kernel]+ffffffff81000010: 1,0",
                   "[hypervisor] 0/0 0 hypervisor [xen]+ffff82d040000010: 1,0"}));
}

}  // namespace
}  // namespace xenoprof::perf
