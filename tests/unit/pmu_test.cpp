// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU's arithmetic and decoding, without a QEMU.
#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "counters.h"
#include "instruction.h"
#include "translation.h"

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kInstructionsEvent = 0xc0;
constexpr uint64_t kCyclesEvent = 0x76;
constexpr uint64_t kBranchesEvent = 0xc2;
constexpr uint64_t kBoth = kSelectUser | kSelectKernel;
constexpr uint64_t kSampling = kSelectEnable | kSelectInterrupt;

Totals happened(Source source, uint64_t user, uint64_t kernel) {
  Totals totals{};
  totals[source] = {user, kernel};
  return totals;
}

Totals instructions(uint64_t user, uint64_t kernel) {
  return happened(kInstructions, user, kernel);
}

constexpr uint64_t unit_mask(uint64_t mask) {
  return mask << 8;
}

TEST(Counters, CountOnlyWhileEnabled) {
  Counters counters{};
  counters.write(0, 7, instructions(0, 0));
  EXPECT_EQ(counters.read(0, instructions(100, 0)), 7u);
  counters.write_select(0, kInstructionsEvent | kBoth | kSelectEnable, instructions(100, 0));
  EXPECT_EQ(counters.read(0, instructions(150, 0)), 57u);
  counters.write_select(0, kInstructionsEvent | kBoth, instructions(160, 0));
  EXPECT_EQ(counters.read(0, instructions(1000, 0)), 67u);
}

TEST(Counters, HonourUserAndKernel) {
  Counters counters{};
  const Totals start{};
  counters.write_select(0, kInstructionsEvent | kSelectUser | kSelectEnable, start);
  counters.write_select(1, kInstructionsEvent | kSelectKernel | kSelectEnable, start);
  counters.write_select(2, kInstructionsEvent | kBoth | kSelectEnable, start);
  counters.write_select(3, kInstructionsEvent | kSelectEnable, start);
  const Totals now = instructions(30, 4);
  EXPECT_EQ(counters.read(0, now), 30u);
  EXPECT_EQ(counters.read(1, now), 4u);
  EXPECT_EQ(counters.read(2, now), 34u);
  EXPECT_EQ(counters.read(3, now), 0u);
}

TEST(Counters, CountTheirEventAndNoOther) {
  struct Event {
    uint64_t code;
    Source source;
  };
  for (const Event event :
       {Event{0x40, kDataAccesses}, Event{0x41, kDataMisses}, Event{0x80, kFetches},
        Event{0x81, kFetchMisses}, Event{0x84, kItlbSecondHits}, Event{0xc0, kInstructions},
        Event{0xc2, kBranches}, Event{0xc3, kMispredicts}, Event{0xcf, kInterrupts}}) {
    for (const uint64_t mask : {0x00, 0xff}) {  // these have no units
      Counters counters{};
      counters.write_select(0, event.code | unit_mask(mask) | kBoth | kSelectEnable, Totals{});
      for (unsigned source = 0; source < kSourceCount; ++source) {
        EXPECT_EQ(counters.read(0, happened(static_cast<Source>(source), 5, 6)),
                  source == event.source ? 11u : 0u)
            << std::hex << event.code << " and source " << source;
      }
    }
  }
}

TEST(Counters, CyclesAreInstructionsAndWhatIsWaitedFor) {
  Counters counters{};
  counters.write_select(0, kCyclesEvent | kBoth | kSelectEnable, Totals{});
  Totals now = happened(kInstructions, 5, 6);
  now[kWaitCycles][kUser] = 100;
  now[kBranches][kUser] = 1000;
  EXPECT_EQ(counters.read(0, now), 111u);
}

TEST(Counters, UnitMaskSelectsTheSourcesThatAreSummed) {
  struct Event {
    uint64_t code;
    Source first;  // of three
  };
  for (const Event event :
       {Event{0x45, kDtlbSecondHits}, Event{0x46, kDtlbWalks}, Event{0x7d, kL2RequestsCode},
        Event{0x7e, kL2MissesCode}, Event{0x85, kItlbWalks}}) {
    Totals now;  // a different power of two each
    for (unsigned source = 0; source < kSourceCount; ++source) {
      now[source].fill(0);
      now[source][kUser] = uint64_t{1} << source;
      now[source][kGuestKernel] = uint64_t{1} << (20 + source);
    }
    for (uint64_t mask = 0; mask < 256; ++mask) {
      Counters counters{};
      const uint64_t select = event.code | unit_mask(mask) | kBoth | kSelectEnable;
      counters.write_select(0, select, Totals{});
      const uint64_t sources = (mask & 7) << event.first;
      EXPECT_EQ(event_sources(select), sources) << std::hex << select;
      EXPECT_EQ(counters.sources(), sources) << std::hex << select;
      EXPECT_EQ(counters.any_enabled(), sources != 0) << std::hex << select;
      EXPECT_EQ(counters.read(0, now), sources | sources << 20) << std::hex << select;
    }
  }
}

TEST(Counters, HostOnlyAndGuestOnly) {
  Totals now{};
  now[kInstructions] = {1, 10, 100, 1000};  // by Mode
  struct Case {
    uint64_t select;
    uint64_t counted;
  };
  constexpr uint64_t kHost = uint64_t{1} << 41;
  constexpr uint64_t kGuest = uint64_t{1} << 40;
  for (const Case& test : {Case{kBoth, 1111}, Case{kBoth | kHost, 11}, Case{kBoth | kGuest, 1100},
                           Case{kBoth | kHost | kGuest, 1111}, Case{kSelectUser | kHost, 1},
                           Case{kSelectUser | kGuest, 100}, Case{kSelectKernel | kHost, 10},
                           Case{kSelectKernel | kGuest, 1000}, Case{kSelectUser, 101},
                           Case{kSelectKernel, 1010}, Case{kHost | kGuest, 0}}) {
    Counters counters{};
    counters.write_select(0, kInstructionsEvent | kSelectEnable | test.select, Totals{});
    EXPECT_EQ(counters.read(0, now), test.counted) << std::hex << test.select;
    EXPECT_EQ(counters.any_enabled(), test.counted != 0) << std::hex << test.select;
  }
}

TEST(Counters, AnEventTheModelLacksCountsNothing) {
  Counters counters{};
  const uint64_t dispatch_stalls = 0xd1;
  const uint64_t extended_c0 = uint64_t{1} << 32 | kInstructionsEvent;  // event 1C0h
  counters.write_select(0, dispatch_stalls | kBoth | kSampling, Totals{});
  counters.write_select(1, extended_c0 | kBoth | kSampling, Totals{});
  EXPECT_EQ(counters.read(0, instructions(5, 6)), 0u);
  EXPECT_EQ(counters.read(1, instructions(5, 6)), 0u);
  EXPECT_FALSE(counters.any_enabled());
  EXPECT_FALSE(counters.take_overflow(instructions(5, 6)));
}

TEST(Counters, SelectReadsBackAsWritten) {
  Counters counters{};
  const uint64_t select = kInstructionsEvent | 0x3f00 | kBoth | kSampling;
  counters.write_select(2, select, Totals{});
  EXPECT_EQ(counters.select(2), select);
}

TEST(Counters, AreFortyEightBitsWide) {
  Counters counters{};
  counters.write(0, ~uint64_t{0}, Totals{});
  EXPECT_EQ(counters.read(0, Totals{}), kCounterRange - 1);
  counters.write_select(0, kInstructionsEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.read(0, instructions(1, 0)), 0u);
  EXPECT_EQ(counters.read(0, instructions(4, 0)), 3u);
}

// Xen takes a clear bit 31 of any counter as its overflow.
TEST(Counters, NeverReadZeroBeforeTheWrap) {
  Counters counters{};
  counters.write(0, kCounterRange - 1000, Totals{});
  counters.write_select(0, kInstructionsEvent | kBoth | kSampling, Totals{});
  for (uint64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(counters.read(0, instructions(i, 0)) >> 31 & 1, 1u) << i;
    ASSERT_FALSE(counters.take_overflow(instructions(i, 0))) << i;
  }
  EXPECT_TRUE(counters.take_overflow(instructions(1000, 0)));
}

TEST(Counters, OverflowOnceAndKeepTheSurplus) {
  Counters counters{};
  counters.write(0, kCounterRange - 100, Totals{});
  counters.write_select(0, kInstructionsEvent | kBoth | kSampling, Totals{});
  EXPECT_TRUE(counters.take_overflow(instructions(60, 55)));
  EXPECT_FALSE(counters.take_overflow(instructions(60, 55)));
  EXPECT_EQ(counters.read(0, instructions(60, 55)), 15u);
  EXPECT_EQ(counters.read(0, instructions(60, 30)), kCounterRange - 10);
}

TEST(Counters, WithoutTheInterruptBitWrapInSilence) {
  Counters counters{};
  counters.write(0, kCounterRange - 1, Totals{});
  counters.write_select(0, kInstructionsEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_FALSE(counters.take_overflow(instructions(5, 0)));
  EXPECT_EQ(counters.read(0, instructions(5, 0)), 4u);
  EXPECT_EQ(counters.slack(Totals{})[kInstructions][kUser], Counters::kForever);
}

TEST(Counters, SlackIsTheDistanceToTheNearestOverflow) {
  Counters counters{};
  counters.write(0, kCounterRange - 500, Totals{});
  counters.write(1, kCounterRange - 300, Totals{});
  constexpr uint64_t kHostUser = kSelectUser | kSelectHostOnly;  // one mode: nothing to share with
  counters.write_select(0, kInstructionsEvent | kHostUser | kSampling, Totals{});
  counters.write_select(1, kInstructionsEvent | kHostUser | kSampling, Totals{});
  const Totals slack = counters.slack(instructions(100, 0));
  EXPECT_EQ(slack[kInstructions][kUser], 200u);
  EXPECT_EQ(slack[kInstructions][kKernel], Counters::kForever);
  EXPECT_EQ(slack[kBranches][kUser], Counters::kForever);
}

// Whatever the mix of what is summed, looking again whenever the slack of one is used up finds the
// overflow at its very event, after a bounded number of looks.
TEST(Counters, SlackFindsTheOverflowExactlyWhateverIsSummed) {
  struct Addend {
    Source source;
    Mode mode;
  };
  struct Case {
    uint64_t select;
    std::vector<Addend> addends;
    unsigned most_looks;
  };
  std::vector<Addend> all_walks;
  for (const unsigned size : {0u, 1u, 2u}) {
    for (const Mode mode : {kUser, kKernel, kGuestUser, kGuestKernel}) {
      all_walks.push_back({static_cast<Source>(kDtlbWalks + size), mode});
    }
  }
  // With n addends a look leaves at most (n - 1) / n of the distance.
  const std::vector<Case> cases = {
      {kInstructionsEvent | kSelectUser | kSelectHostOnly, {{kInstructions, kUser}}, 1},
      {kInstructionsEvent | kBoth | kSelectHostOnly,
       {{kInstructions, kUser}, {kInstructions, kKernel}},
       20},
      {kInstructionsEvent | kSelectUser, {{kInstructions, kUser}, {kInstructions, kGuestUser}}, 20},
      {0x46 | unit_mask(7) | kBoth, all_walks, 160},
  };
  constexpr uint64_t kCount = 100000;
  for (const Case& test : cases) {
    const size_t addends = test.addends.size();
    // How often the first addend comes; what is left goes round the others.
    for (const unsigned first_of_ten : {0u, 1u, 5u, 9u, 10u}) {
      Counters counters{};
      counters.write(0, kCounterRange - kCount, Totals{});
      counters.write_select(0, test.select | kSampling, Totals{});
      Totals now{};
      Totals limit = counters.slack(now);
      unsigned looks = 0;
      uint64_t events = 0;
      for (bool overflow = false; !overflow && events < 2 * kCount; ++events) {
        const bool first = addends == 1 || events % 10 < first_of_ten;
        const auto [source, mode] = test.addends[first ? 0 : 1 + events % (addends - 1)];
        if (++now[source][mode] < limit[source][mode]) {
          continue;
        }
        ++looks;
        overflow = counters.take_overflow(now);
        limit = counters.slack(now);
        for (unsigned i = 0; i < kSourceCount; ++i) {
          for (unsigned j = 0; j < kModeCount; ++j) {
            limit[i][j] += limit[i][j] == Counters::kForever ? 0 : now[i][j];
          }
        }
      }
      EXPECT_EQ(events, kCount) << std::hex << test.select << " " << first_of_ten;
      EXPECT_LE(looks, test.most_looks) << std::hex << test.select << " " << first_of_ten;
    }
  }
}

TEST(Counters, SlackIsOfTheSelectedUnitsAndModesOnly) {
  Counters counters{};
  counters.write(0, kCounterRange - 600, Totals{});
  counters.write_select(0, 0x7d | unit_mask(5) | kBoth | kSelectHostOnly | kSampling, Totals{});
  const Totals slack = counters.slack(Totals{});
  for (unsigned source = 0; source < kSourceCount; ++source) {
    for (unsigned mode = 0; mode < kModeCount; ++mode) {
      const bool selected = (source == kL2RequestsCode || source == kL2RequestsWalk) &&
                            (mode == kUser || mode == kKernel);
      EXPECT_EQ(slack[source][mode], selected ? 150u : Counters::kForever) << source << " " << mode;
    }
  }
}

TEST(Counters, AnOverflowIsTakenFromWhicheverUnitAndModeItComes) {
  for (const Source source : {kL2MissesCode, kL2MissesData, kL2MissesWalk}) {
    for (const Mode mode : {kUser, kKernel, kGuestUser, kGuestKernel}) {
      Counters counters{};
      counters.write(3, kCounterRange - 10, Totals{});
      counters.write_select(3, 0x7e | unit_mask(7) | kBoth | kSampling, Totals{});
      Totals now{};
      now[source][mode] = 9;
      EXPECT_FALSE(counters.take_overflow(now));
      now[source][mode] = 10;
      EXPECT_TRUE(counters.take_overflow(now));
      EXPECT_FALSE(counters.take_overflow(now));
    }
  }
}

TEST(Counters, SayWhatMustBeCounted) {
  Counters counters{};
  EXPECT_EQ(counters.sources(), 0u);
  counters.write_select(0, kCyclesEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.sources(), bits(kInstructions) | bits(kWaitCycles));
  counters.write_select(1, kBranchesEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.sources(), bits(kInstructions) | bits(kWaitCycles) | bits(kBranches));
  counters.write_select(0, kCyclesEvent | kBoth, Totals{});
  EXPECT_EQ(counters.sources(), bits(kBranches));
}

TEST(MachineReset, IsWhatTheMachinesOwnKernelModeRunsAtTheResetVector) {
  EXPECT_TRUE(begins_machine(0xfffffff0, {kKernel, false}));
  EXPECT_FALSE(begins_machine(0xfffffff1, {kKernel, false}));
}

TEST(MachineReset, IsNotTheStartOfAGuest) {
  EXPECT_FALSE(begins_machine(0xfffffff0, {kGuestKernel, false}));
  EXPECT_FALSE(begins_machine(0xfffffff0, {kGuestUser, false}));
}

TEST(MachineReset, IsNotOtherCodeAtTheSameAddress) {
  EXPECT_FALSE(begins_machine(0xfffffff0, {kUser, false}));
  EXPECT_FALSE(begins_machine(0xfffffff0, {kUser, true}));
  EXPECT_FALSE(begins_machine(0xfffffff0, {kKernel, true}));
}

InstructionKind kind(std::initializer_list<uint8_t> bytes) {
  return classify(std::vector<uint8_t>(bytes));
}

TEST(Instruction, KnowsThePmuInstructionsBehindPrefixes) {
  EXPECT_EQ(kind({0x0f, 0x30}), InstructionKind::kWrmsr);
  EXPECT_EQ(kind({0x3e, 0x0f, 0x30}), InstructionKind::kWrmsr);  // as Linux pads it
  EXPECT_EQ(kind({0x0f, 0x32}), InstructionKind::kRdmsr);
  EXPECT_EQ(kind({0x0f, 0x33}), InstructionKind::kRdpmc);
  EXPECT_EQ(kind({0x0f, 0x31}), InstructionKind::kOther);  // rdtsc
}

TEST(Instruction, KnowsBranchesByKind) {
  for (unsigned condition = 0; condition < 16; ++condition) {
    EXPECT_EQ(kind({static_cast<uint8_t>(0x70 + condition), 0xfe}), InstructionKind::kConditional);
    EXPECT_EQ(kind({0x0f, static_cast<uint8_t>(0x80 + condition), 0, 0, 0, 0}),
              InstructionKind::kConditional);
  }
  for (const uint8_t loop : {0xe0, 0xe1, 0xe2, 0xe3}) {
    EXPECT_EQ(kind({loop, 0xfe}), InstructionKind::kConditional);
  }
  EXPECT_EQ(kind({0xe9, 0, 0, 0, 0}), InstructionKind::kJump);
  EXPECT_EQ(kind({0xeb, 0xfe}), InstructionKind::kJump);
  EXPECT_EQ(kind({0xe8, 0, 0, 0, 0}), InstructionKind::kCall);
  EXPECT_EQ(kind({0xff, 0xe0}), InstructionKind::kIndirectJump);              // jmp *%rax
  EXPECT_EQ(kind({0xff, 0x25, 0, 0, 0, 0}), InstructionKind::kIndirectJump);  // jmp *(%rip)
  EXPECT_EQ(kind({0xff, 0xd0}), InstructionKind::kIndirectCall);              // call *%rax
  EXPECT_EQ(kind({0xff, 0x10}), InstructionKind::kIndirectCall);              // call *(%rax)
  EXPECT_EQ(kind({0xc3}), InstructionKind::kReturn);
  EXPECT_EQ(kind({0xc2, 8, 0}), InstructionKind::kReturn);
  EXPECT_EQ(kind({0xff, 0x18}), InstructionKind::kFar);  // lcall *(%rax)
  EXPECT_EQ(kind({0xff, 0x28}), InstructionKind::kFar);  // ljmp *(%rax)
  EXPECT_EQ(kind({0x9a, 0, 0, 0, 0, 0, 0}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xea, 0, 0, 0, 0, 0, 0}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xca, 8, 0}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xcb}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xcc}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xcd, 0x80}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xce}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xcf}), InstructionKind::kFar);
  EXPECT_EQ(kind({0xf1}), InstructionKind::kFar);                // int1
  EXPECT_EQ(kind({0x0f, 0x05}), InstructionKind::kFar);          // syscall
  EXPECT_EQ(kind({0x0f, 0x07}), InstructionKind::kFar);          // sysret
  EXPECT_EQ(kind({0x0f, 0x34}), InstructionKind::kFar);          // sysenter
  EXPECT_EQ(kind({0x0f, 0x35}), InstructionKind::kFar);          // sysexit
  EXPECT_EQ(kind({0xff, 0xc0}), InstructionKind::kOther);        // inc %eax
  EXPECT_EQ(kind({0xff, 0x08}), InstructionKind::kOther);        // decl (%rax)
  EXPECT_EQ(kind({0xff, 0x30}), InstructionKind::kOther);        // push (%rax)
  EXPECT_EQ(kind({0x0f, 0x44, 0xc1}), InstructionKind::kOther);  // cmove
  EXPECT_EQ(kind({0x90}), InstructionKind::kOther);
}

TEST(Instruction, KnowsThemBehindPrefixes) {
  EXPECT_EQ(kind({0x2e, 0x75, 0xfe}), InstructionKind::kConditional);  // hint: not taken
  EXPECT_EQ(kind({0x3e, 0x0f, 0x84, 0, 0, 0, 0}), InstructionKind::kConditional);
  EXPECT_EQ(kind({0x67, 0xe3, 0xfe}), InstructionKind::kConditional);  // jecxz
  EXPECT_EQ(kind({0xf2, 0xe9, 0, 0, 0, 0}), InstructionKind::kJump);   // bnd jmp
  EXPECT_EQ(kind({0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0}), InstructionKind::kCall);
  EXPECT_EQ(kind({0x3e, 0xff, 0xe0}), InstructionKind::kIndirectJump);  // notrack
  EXPECT_EQ(kind({0x41, 0xff, 0xe4}), InstructionKind::kIndirectJump);  // jmp *%r12
  EXPECT_EQ(kind({0x41, 0xff, 0xd4}), InstructionKind::kIndirectCall);  // call *%r12
  EXPECT_EQ(kind({0x64, 0xff, 0x14, 0x25, 0, 0, 0, 0}), InstructionKind::kIndirectCall);
  EXPECT_EQ(kind({0xf3, 0xc3}), InstructionKind::kReturn);  // rep ret
  EXPECT_EQ(kind({0x48, 0xcb}), InstructionKind::kFar);
  EXPECT_EQ(kind({0x48, 0xcf}), InstructionKind::kFar);        // iretq
  EXPECT_EQ(kind({0x48, 0x0f, 0x07}), InstructionKind::kFar);  // sysretq
  for (const uint8_t prefix :
       {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x40, 0x4f}) {
    EXPECT_EQ(kind({prefix, 0xc3}), InstructionKind::kReturn) << unsigned{prefix};
  }
  // A REX that is not next to the opcode is one that the processor passes over.
  EXPECT_EQ(kind({0x48, 0x66, 0xc3}), InstructionKind::kReturn);
}

TEST(Instruction, BranchesAreTheKindsThatChangeTheFlow) {
  for (const InstructionKind branch :
       {InstructionKind::kConditional, InstructionKind::kJump, InstructionKind::kCall,
        InstructionKind::kIndirectJump, InstructionKind::kIndirectCall, InstructionKind::kReturn,
        InstructionKind::kFar}) {
    EXPECT_TRUE(is_branch(branch));
  }
  for (const InstructionKind other : {InstructionKind::kOther, InstructionKind::kWrmsr,
                                      InstructionKind::kRdmsr, InstructionKind::kRdpmc}) {
    EXPECT_FALSE(is_branch(other));
  }
}

TEST(Instruction, SurvivesTruncation) {
  for (const uint8_t byte : {0x0f, 0xff, 0x48, 0x66, 0xf3}) {
    EXPECT_EQ(kind({byte}), InstructionKind::kOther);
  }
  EXPECT_EQ(classify({}), InstructionKind::kOther);
}

}  // namespace
}  // namespace xenoprof::pmu
