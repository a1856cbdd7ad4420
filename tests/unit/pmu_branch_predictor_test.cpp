// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated processor's branch predictor: mispredicts that can be computed beforehand.
#include <gtest/gtest.h>

#include <utility>

#include "branch_predictor.h"

namespace xenoprof::pmu {
namespace {

Geometry geometry() {
  Geometry geometry = *preset("family10h");
  geometry.branch_counters = 1024;
  geometry.return_stack = 24;
  geometry.branch_targets = 512;
  return geometry;
}

class Predictor {
 public:
  explicit Predictor(const Geometry& geometry) : predictor_(geometry) {}
  Predictor() : Predictor(geometry()) {}

  // Of a branch of two bytes.
  void branch(InstructionKind kind, uint64_t address, uint64_t target) {
    mispredicts_ += !predictor_.resolve(kind, address, address + 2, target);
  }
  void conditional(uint64_t address, bool taken) {
    branch(InstructionKind::kConditional, address, taken ? 0x1000 : address + 2);
  }
  unsigned take_mispredicts() { return std::exchange(mispredicts_, 0); }

 private:
  BranchPredictor predictor_;
  unsigned mispredicts_ = 0;
};

TEST(BranchPredictor, ALoopIsMispredictedWhenItFirstRepeatsAndWhenItEnds) {
  for (const unsigned iterations : {1u, 2u, 3u, 4u, 100u}) {
    Predictor predictor;
    const auto run = [&] {
      for (unsigned i = 1; i <= iterations; ++i) {
        predictor.conditional(0x400100, i < iterations);
      }
      return predictor.take_mispredicts();
    };
    // From weakly not taken: the first repeat is a surprise, and the end. Twice taken it stays
    // predicted as taken at the end; once taken it does not, and a loop never taken is no surprise.
    EXPECT_EQ(run(), iterations == 1 ? 0u : 2u) << iterations;
    for (unsigned again = 0; again < 3; ++again) {
      EXPECT_EQ(run(), iterations == 1 ? 0u : iterations == 2 ? 2u : 1u) << iterations;
    }
  }
}

TEST(BranchPredictor, AlternationFromTheWeakStateIsAlwaysWrong) {
  Predictor predictor;
  for (unsigned i = 0; i < 100; ++i) {
    predictor.conditional(0x400100, i % 2 == 0);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 100u);
}

TEST(BranchPredictor, AStrongStateForgivesOneSurprise) {
  Predictor predictor;
  for (unsigned i = 0; i < 10; ++i) {
    predictor.conditional(0x400100, true);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 1u);
  predictor.conditional(0x400100, false);
  EXPECT_EQ(predictor.take_mispredicts(), 1u);
  predictor.conditional(0x400100, true);
  EXPECT_EQ(predictor.take_mispredicts(), 0u);
  predictor.conditional(0x400100, false);
  predictor.conditional(0x400100, false);
  EXPECT_EQ(predictor.take_mispredicts(), 2u);
  predictor.conditional(0x400100, false);
  EXPECT_EQ(predictor.take_mispredicts(), 0u);
}

TEST(BranchPredictor, AddressesHaveCountersOfTheirOwnUpToTheirNumber) {
  Predictor predictor;
  for (unsigned i = 0; i < 100; ++i) {
    predictor.conditional(0x400100, true);
    predictor.conditional(0x400100 + 1023, false);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 1u);
  // 1024 on is the same counter: strongly taken by now. Each not taken is wrong until the other
  // turns it back.
  for (unsigned i = 0; i < 100; ++i) {
    predictor.conditional(0x400100 + 1024, false);
    predictor.conditional(0x400100, true);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 100u);
}

// Calls nested `depth` deep, and all their returns.
unsigned mispredicts_of_nesting(Predictor& predictor, unsigned depth, InstructionKind call) {
  for (uint64_t i = 0; i < depth; ++i) {
    predictor.branch(call, 0x1000 + 16 * i, 0x1010 + 16 * i);
  }
  if (call == InstructionKind::kIndirectCall) {
    predictor.take_mispredicts();  // of where they go
  }
  for (uint64_t i = depth; i-- > 0;) {
    predictor.branch(InstructionKind::kReturn, 0x1018 + 16 * i, 0x1002 + 16 * i);
  }
  return predictor.take_mispredicts();
}

TEST(BranchPredictor, ReturnsAreRightAsDeepAsTheStack) {
  for (const InstructionKind call : {InstructionKind::kCall, InstructionKind::kIndirectCall}) {
    for (const unsigned depth : {0u, 1u, 23u, 24u, 25u, 30u, 48u, 100u}) {
      Predictor predictor;
      for (unsigned again = 0; again < 3; ++again) {
        EXPECT_EQ(mispredicts_of_nesting(predictor, depth, call), depth > 24 ? depth - 24 : 0u)
            << depth;
      }
    }
  }
}

TEST(BranchPredictor, WhatTheStackForgotIsWrongThoughItWouldBeTheSameAddress) {
  Predictor predictor;
  for (unsigned i = 0; i < 30; ++i) {  // recursion
    predictor.branch(InstructionKind::kCall, 0x1000, 0x1000);
  }
  for (unsigned i = 0; i < 30; ++i) {
    predictor.branch(InstructionKind::kReturn, 0x1008, 0x1002);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 6u);
}

TEST(BranchPredictor, AStackMayHaveOneEntryOrNone) {
  Geometry small = geometry();
  small.return_stack = 1;
  Predictor one(small);
  EXPECT_EQ(mispredicts_of_nesting(one, 1, InstructionKind::kCall), 0u);
  EXPECT_EQ(mispredicts_of_nesting(one, 5, InstructionKind::kCall), 4u);
  small.return_stack = 0;
  Predictor none(small);
  EXPECT_EQ(mispredicts_of_nesting(none, 5, InstructionKind::kCall), 5u);
}

TEST(BranchPredictor, AReturnToElsewhereIsWrongAndUsesUpItsEntry) {
  Predictor predictor;
  predictor.branch(InstructionKind::kCall, 0x1000, 0x2000);
  predictor.branch(InstructionKind::kCall, 0x2000, 0x3000);
  predictor.branch(InstructionKind::kReturn, 0x3000, 0x9999);
  EXPECT_EQ(predictor.take_mispredicts(), 1u);
  predictor.branch(InstructionKind::kReturn, 0x2010, 0x1002);
  EXPECT_EQ(predictor.take_mispredicts(), 0u);
}

TEST(BranchPredictor, IndirectBranchesGoWhereTheyWentLast) {
  for (const InstructionKind kind :
       {InstructionKind::kIndirectJump, InstructionKind::kIndirectCall}) {
    Predictor predictor;
    for (unsigned i = 0; i < 100; ++i) {
      predictor.branch(kind, 0x1000, 0x5000);
    }
    EXPECT_EQ(predictor.take_mispredicts(), 1u);
    for (unsigned i = 0; i < 100; ++i) {
      predictor.branch(kind, 0x1000, i % 2 == 0 ? 0x6000 : 0x5000);
    }
    EXPECT_EQ(predictor.take_mispredicts(), 100u);
    for (unsigned i = 0; i < 100; ++i) {  // five each: the first of them is wrong
      predictor.branch(kind, 0x1000, i / 5 % 2 == 0 ? 0x6000 : 0x5000);
    }
    EXPECT_EQ(predictor.take_mispredicts(), 20u);
  }
}

TEST(BranchPredictor, IndirectBranchesHaveTargetsOfTheirOwnUpToTheirNumber) {
  Predictor predictor;
  for (unsigned round = 0; round < 10; ++round) {
    for (uint64_t i = 0; i < 512; ++i) {
      predictor.branch(InstructionKind::kIndirectJump, 0x1000 + i, 0x5000 + i);
    }
    EXPECT_EQ(predictor.take_mispredicts(), round == 0 ? 512u : 0u);
  }
  for (unsigned i = 0; i < 10; ++i) {
    predictor.branch(InstructionKind::kIndirectJump, 0x1000, 0x5000);
    predictor.branch(InstructionKind::kIndirectJump, 0x1000 + 512, 0x6000);
  }
  EXPECT_EQ(predictor.take_mispredicts(), 19u);
}

TEST(BranchPredictor, TheRestIsNeverWrongAndLeavesTheStackAlone) {
  Predictor predictor;
  predictor.branch(InstructionKind::kCall, 0x1000, 0x2000);
  for (uint64_t i = 0; i < 100; ++i) {
    predictor.branch(InstructionKind::kJump, 0x2000, 0x3000 + i);
    predictor.branch(InstructionKind::kFar, 0x3000, 0x4000 + i);
    predictor.branch(InstructionKind::kOther, 0x3000, 0x4000 + i);
  }
  predictor.branch(InstructionKind::kReturn, 0x4000, 0x1002);
  EXPECT_EQ(predictor.take_mispredicts(), 0u);
}

}  // namespace
}  // namespace xenoprof::pmu
