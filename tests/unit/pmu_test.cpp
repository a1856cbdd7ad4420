// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU's arithmetic and decoding, without a QEMU.
#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "counters.h"
#include "instruction.h"

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kInstructionsEvent = 0xc0;
constexpr uint64_t kCyclesEvent = 0x76;
constexpr uint64_t kBranchesEvent = 0xc2;
constexpr uint64_t kBoth = kSelectUser | kSelectKernel;
constexpr uint64_t kSampling = kSelectEnable | kSelectInterrupt;

Totals instructions(uint64_t user, uint64_t kernel) {
  Totals totals{};
  totals[kInstructions] = {user, kernel};
  return totals;
}

Totals branches(uint64_t user, uint64_t kernel) {
  Totals totals{};
  totals[kBranches] = {user, kernel};
  return totals;
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

TEST(Counters, CountTheirEvent) {
  Counters counters{};
  counters.write_select(0, kCyclesEvent | kBoth | kSelectEnable, Totals{});
  counters.write_select(1, kBranchesEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.read(0, instructions(5, 6)), 11u);
  EXPECT_EQ(counters.read(1, instructions(5, 6)), 0u);
  EXPECT_EQ(counters.read(0, branches(5, 6)), 0u);
  EXPECT_EQ(counters.read(1, branches(5, 6)), 11u);
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
  counters.write_select(0, kInstructionsEvent | kSelectUser | kSampling, Totals{});
  counters.write_select(1, kInstructionsEvent | kSelectUser | kSampling, Totals{});
  const Totals slack = counters.slack(instructions(100, 0));
  EXPECT_EQ(slack[kInstructions][kUser], 200u);
  EXPECT_EQ(slack[kInstructions][kKernel], Counters::kForever);
  EXPECT_EQ(slack[kBranches][kUser], Counters::kForever);
}

// Whatever the mix of rings, looking again whenever the slack of one is used up finds the overflow
// at its very instruction, after a bounded number of looks.
TEST(Counters, SlackOfBothRingsFindsTheOverflowExactly) {
  for (const unsigned user_of_ten : {0u, 1u, 5u, 9u, 10u}) {
    Counters counters{};
    constexpr uint64_t kCount = 100000;
    counters.write(0, kCounterRange - kCount, Totals{});
    counters.write_select(0, kInstructionsEvent | kBoth | kSampling, Totals{});
    Totals now{};
    Totals limit = counters.slack(now);
    unsigned looks = 0;
    bool overflow = false;
    uint64_t retired = 0;
    while (!overflow && retired < 2 * kCount) {
      const Ring ring = retired++ % 10 < user_of_ten ? kUser : kKernel;
      if (++now[kInstructions][ring] >= limit[kInstructions][ring]) {
        ++looks;
        overflow = counters.take_overflow(now);
        limit = counters.slack(now);
        for (auto& value : limit[kInstructions]) {
          value += now[kInstructions][&value - limit[kInstructions].data()];
        }
      }
    }
    EXPECT_EQ(retired, kCount) << user_of_ten;
    EXPECT_LE(looks, 20u) << user_of_ten;
  }
}

TEST(Counters, SayWhatMustBeCounted) {
  Counters counters{};
  EXPECT_EQ(counters.sources(), 0u);
  counters.write_select(0, kCyclesEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.sources(), 1u << kInstructions);
  counters.write_select(1, kBranchesEvent | kBoth | kSelectEnable, Totals{});
  EXPECT_EQ(counters.sources(), 1u << kInstructions | 1u << kBranches);
  counters.write_select(0, kCyclesEvent | kBoth, Totals{});
  EXPECT_EQ(counters.sources(), 1u << kBranches);
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

TEST(Instruction, KnowsBranches) {
  EXPECT_EQ(kind({0x75, 0xfe}), InstructionKind::kBranch);
  EXPECT_EQ(kind({0x0f, 0x84, 0, 0, 0, 0}), InstructionKind::kBranch);
  EXPECT_EQ(kind({0xe8, 0, 0, 0, 0}), InstructionKind::kBranch);
  EXPECT_EQ(kind({0xf3, 0xc3}), InstructionKind::kBranch);
  EXPECT_EQ(kind({0x41, 0xff, 0xd4}), InstructionKind::kBranch);  // call *%r12
  EXPECT_EQ(kind({0xff, 0xe0}), InstructionKind::kBranch);        // jmp *%rax
  EXPECT_EQ(kind({0x48, 0xcf}), InstructionKind::kBranch);        // iretq
  EXPECT_EQ(kind({0x0f, 0x05}), InstructionKind::kBranch);
  EXPECT_EQ(kind({0xff, 0xc0}), InstructionKind::kOther);        // inc %eax
  EXPECT_EQ(kind({0xff, 0x30}), InstructionKind::kOther);        // push (%rax)
  EXPECT_EQ(kind({0x0f, 0x44, 0xc1}), InstructionKind::kOther);  // cmove
}

TEST(Instruction, SurvivesTruncation) {
  for (const uint8_t byte : {0x0f, 0xff, 0x48, 0x66, 0xf3}) {
    EXPECT_EQ(kind({byte}), InstructionKind::kOther);
  }
  EXPECT_EQ(classify({}), InstructionKind::kOther);
}

}  // namespace
}  // namespace xenoprof::pmu
