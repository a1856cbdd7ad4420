// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated processor's TLBs: hits, second-level hits and walks that can be computed beforehand.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <list>
#include <random>
#include <vector>

#include "tlb.h"

namespace xenoprof::pmu {
namespace {

constexpr uint64_t bytes_of(PageSize size) {
  return uint64_t{1} << (12 + 9 * size);
}

TlbSide family10h() {
  return {.first = {{{48, 48}, {48, 48}, {48, 48}}},
          .second = {{{512, 4}, {128, 2}, {16, 8}}},
          .shared = false};
}

TlbSide only_first(uint32_t entries) {
  return {.first = {{{entries, entries}, {0, 0}, {0, 0}}}, .second = {}, .shared = false};
}

enum class Found { kFirst, kSecond, kWalk };

struct Round {
  uint64_t first = 0;
  uint64_t second = 0;
  uint64_t walks = 0;
  bool operator==(const Round&) const = default;
};

void PrintTo(const Round& round, std::ostream* out) {
  *out << round.first << " first, " << round.second << " second, " << round.walks << " walks";
}

// A TLB used as a processor uses it. Pages are mapped to themselves.
class Side {
 public:
  explicit Side(const TlbSide& geometry) : tlb(geometry, generations) {}

  Found access(uint64_t address, PageSize size = k4K, uint16_t asid = 0, bool global = false) {
    if ((entry = tlb.find_first(address, asid)) != nullptr) {
      return Found::kFirst;
    }
    if ((entry = tlb.find_second(address, asid)) != nullptr) {
      return Found::kSecond;
    }
    const auto filled =
        tlb.fill(address, asid, {address & ~(bytes_of(size) - 1), size, global}, true);
    entry = filled.entry;
    flushed += filled.flushed;
    return Found::kWalk;
  }

  Round round(uint64_t pages, PageSize size = k4K, uint64_t from = 0, uint16_t asid = 0) {
    Round result;
    for (uint64_t i = 0; i < pages; ++i) {
      const Found found = access((from + i) * bytes_of(size), size, asid);
      ++(found == Found::kFirst    ? result.first
         : found == Found::kSecond ? result.second
                                   : result.walks);
    }
    return result;
  }

  Generations generations;
  Tlb tlb;
  const Tlb::Entry* entry = nullptr;  // what the last access found
  uint64_t flushed = 0;               // walks that a flush made necessary
};

TEST(Tlb, ACyclicWalkLosesTheFirstLevelAtOnceAndTheSecondSetBySet) {
  struct Case {
    PageSize size;
    uint64_t pages;
    Round steady;
  };
  for (const Case& test : {
           Case{k4K, 1, {1, 0, 0}}, Case{k4K, 48, {48, 0, 0}}, Case{k4K, 49, {0, 49, 0}},
           Case{k4K, 512, {0, 512, 0}},
           // 128 sets of four: each page too many takes the four of its set with it.
           Case{k4K, 513, {0, 508, 5}}, Case{k4K, 576, {0, 256, 320}}, Case{k4K, 640, {0, 0, 640}},
           Case{k4K, 2000, {0, 0, 2000}}, Case{k2M, 48, {48, 0, 0}}, Case{k2M, 49, {0, 49, 0}},
           Case{k2M, 128, {0, 128, 0}}, Case{k2M, 129, {0, 126, 3}},  // 64 sets of two
           Case{k2M, 192, {0, 0, 192}}, Case{k1G, 48, {48, 0, 0}},
           Case{k1G, 49, {0, 0, 49}},  // 2 sets of eight: less than the first level
       }) {
    Side side(family10h());
    EXPECT_EQ(side.round(test.pages, test.size), (Round{0, 0, test.pages})) << test.pages;
    for (unsigned again = 0; again < 3; ++again) {
      EXPECT_EQ(side.round(test.pages, test.size), test.steady) << test.size << " " << test.pages;
    }
    EXPECT_EQ(side.flushed, 0u);
  }
}

TEST(Tlb, PageSizesHaveEntriesOfTheirOwn) {
  Side side(family10h());
  const auto all = [&] {
    Round sum;
    for (const PageSize size : {k4K, k2M, k1G}) {
      // Each in a part of the address space of its own.
      const Round one = side.round(48, size, (uint64_t{size} << 40) / bytes_of(size));
      sum = {sum.first + one.first, sum.second + one.second, sum.walks + one.walks};
    }
    return sum;
  };
  EXPECT_EQ(all(), (Round{0, 0, 144}));
  EXPECT_EQ(all(), (Round{144, 0, 0}));
}

TEST(Tlb, AnEntryServesItsWholePageAndNoMore) {
  for (const PageSize size : {k4K, k2M, k1G}) {
    Side side(family10h());
    const uint64_t start = 0x7f00'0000'0000;
    EXPECT_EQ(side.access(start + bytes_of(size) / 2, size), Found::kWalk);
    for (uint64_t i = 0; i < 512; ++i) {
      EXPECT_EQ(side.access(start + bytes_of(size) / 512 * i, size), Found::kFirst);
      EXPECT_EQ(side.entry->frame, start);
      EXPECT_EQ(side.entry->size, size);
    }
    EXPECT_EQ(side.access(start + bytes_of(size) - 1, size), Found::kFirst);
    EXPECT_EQ(side.access(start + bytes_of(size), size), Found::kWalk);
    EXPECT_EQ(side.access(start - 1, size), Found::kWalk);
  }
}

TEST(Tlb, TheLeastRecentlyUsedGoesFirst) {
  Side side(only_first(4));
  side.round(4);
  EXPECT_EQ(side.access(0), Found::kFirst);
  EXPECT_EQ(side.access(4 * 4096), Found::kWalk);  // for 1
  EXPECT_EQ(side.access(0), Found::kFirst);
  EXPECT_EQ(side.access(2 * 4096), Found::kFirst);
  EXPECT_EQ(side.access(3 * 4096), Found::kFirst);
  EXPECT_EQ(side.access(1 * 4096), Found::kWalk);  // for 4
  EXPECT_EQ(side.access(0), Found::kFirst);
  EXPECT_EQ(side.access(4 * 4096), Found::kWalk);
}

TEST(Tlb, FlushesOfNonGlobalEntriesLeaveTheGlobalOnes) {
  Side side(family10h());
  const auto global = [&] { return side.access(1 << 20, k4K, 0, true); };
  const auto local = [&] { return side.access(2 << 20); };
  EXPECT_EQ(global(), Found::kWalk);
  EXPECT_EQ(local(), Found::kWalk);
  side.generations.flush_non_global(0);
  EXPECT_EQ(global(), Found::kFirst);
  EXPECT_EQ(local(), Found::kWalk);
  side.generations.flush(0);
  EXPECT_EQ(global(), Found::kWalk);
  EXPECT_EQ(local(), Found::kWalk);
  side.generations.flush_everything();
  EXPECT_EQ(global(), Found::kWalk);
  EXPECT_EQ(local(), Found::kWalk);
}

TEST(Tlb, AGlobalEntryComesBackGlobalFromTheSecondLevel) {
  Side side(family10h());
  const uint64_t address = 1 << 30;
  side.access(address, k4K, 0, true);
  side.round(48);  // pushes it out of the first level
  EXPECT_EQ(side.access(address), Found::kSecond);
  side.generations.flush_non_global(0);
  EXPECT_EQ(side.access(address), Found::kFirst);
}

TEST(Tlb, AFlushReachesTheSecondLevel) {
  Side side(family10h());
  side.round(512);
  side.generations.flush_non_global(0);
  EXPECT_EQ(side.round(512), (Round{0, 0, 512}));
  EXPECT_EQ(side.round(512), (Round{0, 512, 0}));
}

TEST(Tlb, DroppingAPageDropsItAlone) {
  for (const PageSize size : {k4K, k2M, k1G}) {
    for (const bool global : {false, true}) {
      Side side(family10h());
      for (uint64_t i = 0; i < 10; ++i) {
        side.access(i * bytes_of(size), size, 0, global);
      }
      side.tlb.drop(7 * bytes_of(size) + 123, 0);
      for (uint64_t i = 0; i < 10; ++i) {
        EXPECT_EQ(side.access(i * bytes_of(size), size, 0, global),
                  i == 7 ? Found::kWalk : Found::kFirst);
      }
      EXPECT_EQ(side.flushed, 1u);
      side.tlb.drop(1000 * bytes_of(size), 0);  // not there
      side.tlb.drop(7 * bytes_of(size), 1);     // not of this address space
      EXPECT_EQ(side.access(7 * bytes_of(size), size, 0, global), Found::kFirst);
    }
  }
}

TEST(Tlb, AddressSpacesAreApart) {
  Side side(family10h());
  EXPECT_EQ(side.round(10, k4K, 0, 0), (Round{0, 0, 10}));
  EXPECT_EQ(side.round(10, k4K, 0, 1), (Round{0, 0, 10}));
  EXPECT_EQ(side.round(10, k4K, 0, 65), (Round{0, 0, 10}));
  EXPECT_EQ(side.round(10, k4K, 0, 0), (Round{10, 0, 0}));
  EXPECT_EQ(side.round(10, k4K, 0, 1), (Round{10, 0, 0}));
  EXPECT_EQ(side.round(10, k4K, 0, 65), (Round{10, 0, 0}));
  side.generations.flush(2);
  EXPECT_EQ(side.round(10, k4K, 0, 1), (Round{10, 0, 0}));
  side.generations.flush(1);
  EXPECT_EQ(side.round(10, k4K, 0, 0), (Round{10, 0, 0}));
  EXPECT_EQ(side.round(10, k4K, 0, 1), (Round{0, 0, 10}));
  EXPECT_EQ(side.round(10, k4K, 0, 65), (Round{0, 0, 10}));  // 64 on shares its slot
  side.generations.flush_everything();
  EXPECT_EQ(side.round(10, k4K, 0, 0), (Round{0, 0, 10}));
  EXPECT_EQ(side.round(10, k4K, 0, 1), (Round{0, 0, 10}));
}

TEST(Tlb, TellsWalksThatAFlushMadeNecessaryFromOthers) {
  Side side(family10h());
  side.round(640);
  EXPECT_EQ(side.flushed, 0u);
  side.generations.flush(0);
  side.round(64, k4K, 640 - 64);  // these were in the second level
  EXPECT_EQ(side.flushed, 64u);
  side.round(1);  // this one had gone before the flush
  EXPECT_EQ(side.flushed, 64u);
  side.tlb.clear();
  EXPECT_EQ(side.round(10, k4K, 640 - 10), (Round{0, 0, 10}));
  EXPECT_EQ(side.flushed, 64u);
}

TEST(Tlb, WhatWasFlushedGoesBeforeAnythingCurrent) {
  Side side(only_first(48));
  side.round(24, k4K, 0, 0);
  side.round(24, k4K, 0, 1);
  side.generations.flush(1);
  EXPECT_EQ(side.round(24, k4K, 1000, 0), (Round{0, 0, 24}));
  EXPECT_EQ(side.round(24, k4K, 0, 0), (Round{24, 0, 0}));
}

TEST(Tlb, ASharedFirstLevelHoldsPagesOfAnySize) {
  TlbSide geometry = only_first(64);
  geometry.shared = true;
  for (const uint64_t small : {32, 33}) {
    Side side(geometry);
    const auto all = [&] {
      const Round a = side.round(small);
      const Round b = side.round(31, k2M, 1000);
      const Round c = side.round(1, k1G, 1000);
      return Round{a.first + b.first + c.first, a.second + b.second + c.second,
                   a.walks + b.walks + c.walks};
    };
    EXPECT_EQ(all(), (Round{0, 0, small + 32}));
    EXPECT_EQ(all(), small == 32 ? (Round{64, 0, 0}) : (Round{0, 0, 65}));
    EXPECT_EQ(all(), small == 32 ? (Round{64, 0, 0}) : (Round{0, 0, 65}));
  }
  Side side(geometry);
  side.access(5 * bytes_of(k2M), k2M);
  EXPECT_EQ(side.entry->size, k2M);
  side.tlb.drop(5 * bytes_of(k2M) + 4096, 0);
  EXPECT_EQ(side.access(5 * bytes_of(k2M), k2M), Found::kWalk);
}

TEST(Tlb, APageWithoutEntriesOfItsSizeIsHeldInSmallerPieces) {
  struct Case {
    uint32_t entries_2m;
    PageSize page;
    PageSize held;
  };
  for (const Case& test : {Case{0, k2M, k4K}, Case{0, k1G, k4K}, Case{16, k1G, k2M}}) {
    TlbSide geometry = family10h();
    geometry.first[k2M] = {test.entries_2m, test.entries_2m};
    geometry.first[k1G] = {0, 0};
    Side side(geometry);
    const uint64_t page = 3 * bytes_of(test.page);
    for (const bool again : {false, true}) {
      for (uint64_t i = 0; i < 16; ++i) {
        EXPECT_EQ(side.access(page + i * bytes_of(test.held) + 5, test.page),
                  again ? Found::kFirst : Found::kWalk);
        EXPECT_EQ(side.entry->size, test.held);
        EXPECT_EQ(side.entry->frame, page + i * bytes_of(test.held));
      }
    }
  }
}

TEST(Tlb, AddressesOfOneHintDoNotHideEachOther) {
  Side side(family10h());
  for (unsigned i = 0; i < 10; ++i) {
    for (const uint64_t address : {0x0, 0x10'1000, 0x20'2000}) {
      EXPECT_EQ(side.access(address), i == 0 ? Found::kWalk : Found::kFirst);
      EXPECT_EQ(side.entry->frame, address);
    }
  }
}

TEST(Tlb, AddressesBeyondFortyEightBitsAreTheirSignExtension) {
  Side side(family10h());
  EXPECT_EQ(side.access(0xffff'ffff'8000'0000), Found::kWalk);
  EXPECT_EQ(side.access(0xffff'ffff'8000'0fff), Found::kFirst);
  EXPECT_EQ(side.access(~uint64_t{0}), Found::kWalk);
  EXPECT_EQ(side.access(0), Found::kWalk);
}

// The plainest TLB there is.
class Reference {
 public:
  explicit Reference(const TlbSide& geometry) {
    for (const PageSize size : {k4K, k2M, k1G}) {
      first_[size] = Level(geometry.first[size]);
      second_[size] = Level(geometry.second[size]);
    }
  }

  struct Key {
    uint64_t page;
    uint16_t asid;
    bool global;
    bool operator==(const Key&) const = default;
  };

  Found access(const Key& key, PageSize size) {
    if (first_[size].use(key)) {
      return Found::kFirst;
    }
    first_[size].add(key);
    if (second_[size].use(key)) {
      return Found::kSecond;
    }
    second_[size].add(key);
    return Found::kWalk;
  }
  template <class Predicate>
  void remove(Predicate predicate) {
    for (auto* levels : {&first_, &second_}) {
      for (Level& level : *levels) {
        for (auto& set : level.sets) {
          set.remove_if(predicate);
        }
      }
    }
  }

 private:
  struct Level {
    Level() = default;
    explicit Level(const TlbGeometry& geometry)
        : ways(geometry.ways), sets(geometry.entries / geometry.ways) {}
    bool use(const Key& key) {
      auto& set = sets[key.page % sets.size()];
      if (set.remove(key) == 0) {
        return false;
      }
      set.push_front(key);
      return true;
    }
    void add(const Key& key) {
      auto& set = sets[key.page % sets.size()];
      set.push_front(key);
      set.resize(std::min<size_t>(set.size(), ways), key);
    }
    uint32_t ways = 0;
    std::vector<std::list<Key>> sets;  // most recent first
  };
  std::array<Level, kPageSizes> first_;
  std::array<Level, kPageSizes> second_;
};

TEST(Tlb, IsLeastRecentlyUsedWhateverTheOrder) {
  const TlbSide geometry = {
      .first = {{{8, 8}, {4, 2}, {2, 2}}}, .second = {{{16, 4}, {8, 2}, {4, 4}}}, .shared = false};
  Side side(geometry);
  Reference reference(geometry);
  std::mt19937 random(1);
  const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  for (unsigned i = 0; i < 50000; ++i) {
    const auto size = static_cast<PageSize>(below(kPageSizes));
    const auto asid = static_cast<uint16_t>(below(3));
    const uint64_t page = ((uint64_t{size} + 1) << 40) / bytes_of(size) + below(24 >> size);
    const Reference::Key key{page, asid, page % 4 == 0};
    const unsigned flush = below(200);
    if (flush == 0) {
      side.generations.flush(asid);
      reference.remove([&](const auto& other) { return other.asid == asid; });
    } else if (flush == 1) {
      side.generations.flush_non_global(asid);
      reference.remove([&](const auto& other) { return other.asid == asid && !other.global; });
    } else if (flush == 2) {
      side.generations.flush_everything();
      reference.remove([](const auto&) { return true; });
    } else if (flush < 10) {
      side.tlb.drop(page * bytes_of(size), asid);
      reference.remove([&](const auto& other) { return other == key; });
    }
    ASSERT_EQ(side.access(page * bytes_of(size), size, asid, key.global),
              reference.access(key, size))
        << i;
    ASSERT_EQ(side.entry->frame, page * bytes_of(size));
  }
}

}  // namespace
}  // namespace xenoprof::pmu
