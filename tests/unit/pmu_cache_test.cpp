// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated processor's cache directory: misses that can be computed beforehand.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <list>
#include <random>
#include <vector>

#include "cache.h"

namespace xenoprof::pmu {
namespace {

constexpr uint32_t kLine = 64;

// Misses of one round over `lines` lines, each `stride` lines from the one before.
uint64_t round_of(Cache& cache, uint64_t lines, uint64_t stride = 1) {
  uint64_t misses = 0;
  for (uint64_t i = 0; i < lines; ++i) {
    misses += !cache.access(i * stride, i * stride);
  }
  return misses;
}

TEST(Cache, ACyclicWalkHitsUpToTheCapacityAndThenLosesWholeSets) {
  for (const uint32_t ways : {1u, 2u, 3u, 4u, 16u, 512u}) {
    const uint32_t sets = std::bit_floor(512 / ways);
    const uint32_t lines = sets * ways;
    for (const uint64_t more : {uint64_t{0}, uint64_t{1}, uint64_t{sets}}) {
      Cache cache({lines * kLine, ways}, kLine);
      EXPECT_EQ(cache.sets(), sets);
      EXPECT_EQ(round_of(cache, lines + more), lines + more);
      for (unsigned again = 0; again < 3; ++again) {
        // A set with a line too many misses all of them, as each goes just before it is needed.
        EXPECT_EQ(round_of(cache, lines + more), more * (ways + 1)) << ways << " " << more;
      }
    }
    Cache half({lines * kLine, ways}, kLine);
    round_of(half, lines / 2);
    EXPECT_EQ(round_of(half, lines / 2), 0u);
  }
}

TEST(Cache, LinesOfOneSetFitAsManyAsItsWays) {
  const CacheGeometry geometry{64 << 10, 2};  // 512 sets
  for (const uint64_t lines : {1, 2, 3, 4, 100}) {
    Cache cache(geometry, kLine);
    round_of(cache, lines, 512);
    EXPECT_EQ(round_of(cache, lines, 512), lines <= 2 ? 0 : lines) << lines;
  }
}

TEST(Cache, TheLeastRecentlyUsedGoesFirst) {
  Cache cache({4 * kLine, 4}, kLine);
  const auto hit = [&](uint64_t line) { return cache.access(line, line); };
  round_of(cache, 4);  // 0 1 2 3
  EXPECT_TRUE(hit(0));
  EXPECT_FALSE(hit(4));  // for 1
  EXPECT_TRUE(hit(0));
  EXPECT_TRUE(hit(2));
  EXPECT_TRUE(hit(3));
  EXPECT_TRUE(hit(4));
  EXPECT_FALSE(hit(1));  // for 0
  EXPECT_FALSE(hit(0));
}

TEST(Cache, TheIndexPicksTheSetAndTheLineIsWhatIsFound) {
  Cache cache({4 * kLine, 1}, kLine);
  EXPECT_FALSE(cache.access(0, 100));
  EXPECT_TRUE(cache.access(4, 100));   // the same set
  EXPECT_FALSE(cache.access(1, 100));  // another: an alias of its own
  EXPECT_FALSE(cache.access(0, 101));
  EXPECT_FALSE(cache.access(0, 100));
}

TEST(Cache, BeginsEmptyAndIsEmptyOnceCleared) {
  Cache cache({8 * kLine, 2}, kLine);
  EXPECT_EQ(round_of(cache, 8), 8u);
  EXPECT_EQ(round_of(cache, 8), 0u);
  cache.clear();
  EXPECT_EQ(round_of(cache, 8), 8u);
}

TEST(Cache, IsLeastRecentlyUsedWhateverTheOrder) {
  constexpr uint64_t kSets = 8;
  constexpr size_t kWays = 4;
  Cache cache({kSets * kWays * kLine, kWays}, kLine);
  std::vector<std::list<uint64_t>> sets(kSets);  // most recent first
  std::mt19937 random(1);
  for (unsigned i = 0; i < 20000; ++i) {
    const uint64_t line = random() % 64;
    std::list<uint64_t>& set = sets[line % kSets];
    const bool there = set.remove(line) != 0;
    set.push_front(line);
    set.resize(std::min(set.size(), kWays));
    ASSERT_EQ(cache.access(line, line), there) << i;
  }
}

}  // namespace
}  // namespace xenoprof::pmu
