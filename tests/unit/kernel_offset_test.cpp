// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/kernel_offset.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace xenoprof {
namespace {

constexpr KernelText kText = {.start = 0xffffffff81000000, .end = 0xffffffff82000000};

// Functions as large and as many as a kernel's, and samples of some of them.
class KernelOffsetTest : public testing::Test {
 protected:
  void SetUp() override {
    std::uniform_int_distribution<std::uint64_t> size(1, 32);
    for (std::uint64_t at = kText.start; at < kText.end; at += 16 * size(random_)) {
      starts_.push_back(at);
      table_.add(at, 0, SymbolTable::Binding::kGlobal, "function");
    }
    table_.finish();
  }

  std::vector<std::uint64_t> sampled(std::size_t number, double first_instructions,
                                     std::int64_t offset) {
    std::uniform_int_distribution<std::size_t> any(0, starts_.size() - 1);
    std::uniform_int_distribution<std::uint64_t> inside(1, 60);
    std::bernoulli_distribution first(first_instructions);
    std::vector<std::uint64_t> all;
    for (std::size_t i = 0; i < number; ++i) {
      const std::uint64_t start = starts_[any(random_)] + static_cast<std::uint64_t>(offset);
      all.push_back(first(random_) ? start : start + inside(random_));
    }
    return all;
  }

  std::mt19937_64 random_{1};
  std::vector<std::uint64_t> starts_;
  SymbolTable table_;
};

TEST_F(KernelOffsetTest, IsWhereMostSamplesAreOfFirstInstructions) {
  for (const std::int64_t offset : {std::int64_t{0x1a400000}, std::int64_t{0},
                                    std::int64_t{0x3c000000}, std::int64_t{-0x1000000}}) {
    const auto found = find_kernel_offset(table_, kText, sampled(2000, 0.05, offset));
    ASSERT_TRUE(found.has_value()) << std::hex << offset;
    EXPECT_EQ(found->bytes, offset);
    EXPECT_GE(found->fit, 60u);
  }
}

TEST_F(KernelOffsetTest, IsNotGuessed) {
  EXPECT_FALSE(find_kernel_offset(table_, kText, sampled(40, 0.05, 0x1a400000)));
  EXPECT_FALSE(find_kernel_offset(table_, kText, {}));
  EXPECT_FALSE(find_kernel_offset({}, {}, sampled(2000, 0.05, 0x1a400000)));
  // Samples of another kernel.
  std::uniform_int_distribution<std::uint64_t> anywhere(kText.start, kText.end);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint64_t> all;
    for (int i = 0; i < 5000; ++i) {
      all.push_back(anywhere(random_));
    }
    const auto found = find_kernel_offset(table_, kText, all);
    EXPECT_FALSE(found) << std::hex << found->bytes << std::dec << " " << found->fit << " "
                        << found->next_fit;
  }
}

}  // namespace
}  // namespace xenoprof
