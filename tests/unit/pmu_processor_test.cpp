// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated processor as a whole: what each access makes happen, and what it costs.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "pmu_page_tables.h"
#include "processor.h"

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kPaging = uint64_t{1} << 31;
constexpr uint64_t kPae = 1 << 5;
constexpr uint64_t kPge = 1 << 7;
constexpr Parts kAllParts = (1 << kPartBits) - 1;
constexpr Parts kDataPart = kDataTlbPart | kDataCachePart;
constexpr Parts kCodePart = kCodeTlbPart | kCodeCachePart;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kLine = 64;
constexpr uint64_t kData = 0x10'0000'0000;    // virtual; physical is kBehind more
constexpr uint64_t kBehind = 0x70'0000'0000;  // nothing else has memory there

// Cycles that no sum of others makes.
Geometry geometry() {
  Geometry geometry = *preset("family10h");
  geometry.penalties = {
      .l2 = 1, .memory = 1000, .second_tlb = 1'000'000, .walk = 100'000'000, .mispredict = 7};
  return geometry;
}

class Machine final : public Processor::Machine {
 public:
  AddressSpace address_space() override { return space; }
  bool is_device(uint64_t address) override {
    return address >= device_from && address < device_to;
  }
  uint64_t read(uint64_t address) override { return tables.read(address); }

  PageTables tables;
  AddressSpace space{
      .cr0 = kPaging, .cr3 = tables.new_table(), .cr4 = kPae | kPge, .long_mode = true};
  uint64_t device_from = 0;
  uint64_t device_to = 0;
};

Source of_size(Source first, unsigned size) {
  return static_cast<Source>(first + size);
}

using Happened = std::map<std::pair<Source, Mode>, uint64_t>;

class Recorder final : public Processor::Listener {
 public:
  void happened(Source source, Mode mode, uint64_t times) override {
    if (times != 0) {
      events[{source, mode}] += times;
    }
  }
  Happened events;
};

class ProcessorTest : public testing::Test {
 protected:
  explicit ProcessorTest(const Geometry& wanted = geometry())
      : second_level(wanted), processor(wanted, second_level, machine, recorder) {
    processor.set_parts(kAllParts);
  }

  // Maps pages to what is kBehind them.
  void map(uint64_t from, uint64_t pages, PageSize size = k4K, uint64_t flags = 0) {
    for (uint64_t i = 0; i < pages; ++i) {
      const uint64_t address = from + (i << (12 + 9 * size));
      machine.tables.map(machine.space.cr3, address, address + kBehind, size, flags);
    }
  }
  Happened take() { return std::exchange(recorder.events, {}); }
  uint64_t take(Source source, Mode mode = kUser) { return take()[{source, mode}]; }

  Machine machine;
  Recorder recorder;
  SecondLevel second_level;
  Processor processor;
};

TEST_F(ProcessorTest, AFirstAccessMissesEverywhere) {
  map(kData, 1);
  processor.access(kData + 100, kUser);
  EXPECT_EQ(take(), (Happened{{{kDtlbWalks, kUser}, 1},
                              {{kL2RequestsWalk, kUser}, 1},
                              {{kL2MissesWalk, kUser}, 1},
                              {{kDataMisses, kUser}, 1},
                              {{kL2RequestsData, kUser}, 1},
                              {{kL2MissesData, kUser}, 1},
                              {{kWaitCycles, kUser}, 100'002'000}}));
  processor.access(kData + 100, kUser);
  processor.access(kData + 127, kUser);  // the same line
  EXPECT_EQ(take(), Happened{});
  processor.access(kData + 128, kUser);  // the next, of the same page
  EXPECT_EQ(take(), (Happened{{{kDataMisses, kUser}, 1},
                              {{kL2RequestsData, kUser}, 1},
                              {{kL2MissesData, kUser}, 1},
                              {{kWaitCycles, kUser}, 1000}}));
}

TEST_F(ProcessorTest, AFirstFetchMissesEverywhere) {
  map(kData, 1);
  processor.fetch(kData, kLine, kKernel);
  EXPECT_EQ(take(), (Happened{{{kItlbWalks, kKernel}, 1},
                              {{kL2RequestsWalk, kKernel}, 1},
                              {{kL2MissesWalk, kKernel}, 1},
                              {{kFetchMisses, kKernel}, 1},
                              {{kL2RequestsCode, kKernel}, 1},
                              {{kL2MissesCode, kKernel}, 1},
                              {{kWaitCycles, kKernel}, 100'002'000}}));
  processor.fetch(kData, kLine, kKernel);
  EXPECT_EQ(take(), Happened{});
}

TEST_F(ProcessorTest, CodeIsFetchedByTheLine) {
  map(kData, 2);
  processor.fetch(kData + 60, 4, kUser);
  EXPECT_EQ(take(kFetchMisses), 1u);
  processor.fetch(kData + 60, 5, kUser);
  EXPECT_EQ(take(kFetchMisses), 1u);
  processor.fetch(kData, kPage, kUser);
  EXPECT_EQ(take(kFetchMisses), kPage / kLine - 2);
  processor.fetch(kData + kPage - 1, 2, kUser);  // one instruction over two pages
  EXPECT_EQ(take(), (Happened{{{kItlbWalks, kUser}, 1},
                              {{kL2RequestsWalk, kUser}, 1},  // beside the first page's entry
                              {{kFetchMisses, kUser}, 1},
                              {{kL2RequestsCode, kUser}, 1},
                              {{kL2MissesCode, kUser}, 1},
                              {{kWaitCycles, kUser}, 100'001'001}}));
}

TEST_F(ProcessorTest, CodeMayEndWithTheAddressSpace) {
  const uint64_t last = ~uint64_t{0} - kPage + 1;
  machine.tables.map(machine.space.cr3, last, 0x5000);
  processor.fetch(last + kPage - kLine, kLine, kUser);
  EXPECT_EQ(take(kFetchMisses), 1u);
  processor.fetch(last + kPage - 2 * kLine, 2 * kLine, kUser);
  EXPECT_EQ(take(kFetchMisses), 1u);
  processor.fetch(last + kPage - 3 * kLine, 3 * kLine - 5, kUser);
  EXPECT_EQ(take(kFetchMisses), 1u);
}

TEST_F(ProcessorTest, EachPageSizeHasWalksAndSecondLevelHitsOfItsOwn) {
  for (const PageSize size : {k4K, k2M}) {
    const uint64_t from = kData + (uint64_t{size} << 38);
    const uint64_t bytes = uint64_t{1} << (12 + 9 * size);
    map(from, 49, size);
    const auto round = [&] {
      for (uint64_t i = 0; i < 49; ++i) {
        processor.access(from + i * bytes, kUser);
      }
      return take();
    };
    EXPECT_EQ((round()[{of_size(kDtlbWalks, size), kUser}]), 49u);
    Happened again = round();
    EXPECT_EQ((again[{of_size(kDtlbSecondHits, size), kUser}]), 49u);
    for (const Source walks : {kDtlbWalks, kDtlbSecondHits}) {
      for (unsigned other = 0; other < kPageSizes; ++other) {
        if (walks != kDtlbSecondHits || other != size) {
          EXPECT_EQ(again.count({of_size(walks, other), kUser}), 0u);
        }
      }
    }
    EXPECT_EQ((again[{kWaitCycles, kUser}] / 1'000'000), 49u);
  }
  map(kData + (uint64_t{2} << 38), 1, k1G);
  processor.access(kData + (uint64_t{2} << 38), kUser);
  EXPECT_EQ(take(of_size(kDtlbWalks, k1G)), 1u);
}

TEST_F(ProcessorTest, CodeHasOneKindOfSecondLevelHit) {
  map(kData, 33);  // one more than the first level has
  const auto round = [&] {
    for (uint64_t i = 0; i < 33; ++i) {
      processor.fetch(kData + i * kPage + i * kLine, 1, kUser);  // in cache sets of their own
    }
    return take();
  };
  EXPECT_EQ((round()[{kItlbWalks, kUser}]), 33u);
  EXPECT_EQ(round(),
            (Happened{{{kItlbSecondHits, kUser}, 33}, {{kWaitCycles, kUser}, 33'000'000}}));
}

TEST_F(ProcessorTest, WhatFellOutOfTheFirstLevelIsFoundInTheSecond) {
  // 64K in two ways: lines 32K apart are of one set.
  for (uint64_t i = 0; i < 3; ++i) {
    map(kData + i * 0x8000, 1);
  }
  const auto round = [&] {
    for (uint64_t i = 0; i < 3; ++i) {
      processor.access(kData + i * 0x8000, kUser);
    }
    return take();
  };
  round();
  EXPECT_EQ(round(), (Happened{{{kDataMisses, kUser}, 3},
                               {{kL2RequestsData, kUser}, 3},
                               {{kWaitCycles, kUser}, 3}}));
}

TEST_F(ProcessorTest, CodeAndDataShareTheSecondLevel) {
  map(kData, 1);
  processor.access(kData, kUser);
  take();
  processor.fetch(kData, 1, kUser);
  EXPECT_EQ(take(), (Happened{{{kItlbWalks, kUser}, 1},
                              {{kL2RequestsWalk, kUser}, 1},
                              {{kFetchMisses, kUser}, 1},
                              {{kL2RequestsCode, kUser}, 1},
                              {{kWaitCycles, kUser}, 100'000'002}}));
}

TEST_F(ProcessorTest, EachModeIsReportedAsItself) {
  map(kData, 4);
  for (const Mode mode : {kUser, kKernel, kGuestUser, kGuestKernel}) {
    processor.access(kData + mode * kPage, mode);
    const Happened events = take();
    EXPECT_EQ(events.count({kDtlbWalks, mode}), 1u);
    for (const auto& [event, times] : events) {
      EXPECT_EQ(event.second, mode);
    }
  }
}

TEST_F(ProcessorTest, DevicesAreTranslatedButNotCached) {
  map(kData, 1);
  machine.device_from = kData + kBehind;
  machine.device_to = machine.device_from + kPage;
  const Happened walk{{{kDtlbWalks, kUser}, 1},
                      {{kL2RequestsWalk, kUser}, 1},
                      {{kL2MissesWalk, kUser}, 1},
                      {{kWaitCycles, kUser}, 100'001'000}};
  processor.access(kData, kUser);
  EXPECT_EQ(take(), walk);
  for (uint64_t at = 0; at < kPage; at += kLine) {
    processor.access(kData + at, kUser);
  }
  EXPECT_EQ(take(), Happened{});
}

TEST_F(ProcessorTest, WithoutPagingThereIsNothingToTranslate) {
  machine.space = {};
  processor.forget_address_space();
  processor.access(0x1000, kKernel);
  processor.fetch(0x2000, 1, kKernel);
  EXPECT_EQ(take(), (Happened{{{kDataMisses, kKernel}, 1},
                              {{kL2RequestsData, kKernel}, 1},
                              {{kL2MissesData, kKernel}, 1},
                              {{kFetchMisses, kKernel}, 1},
                              {{kL2RequestsCode, kKernel}, 1},
                              {{kL2MissesCode, kKernel}, 1},
                              {{kWaitCycles, kKernel}, 2000}}));
  machine.device_from = 0xb8000;
  machine.device_to = 0xc0000;
  processor.access(0xb8000, kKernel);
  EXPECT_EQ(take(), Happened{});
}

TEST_F(ProcessorTest, WhatIsNotMappedCountsNothing) {
  processor.access(kData, kUser);
  processor.fetch(kData, 1, kUser);
  EXPECT_EQ(take(), Happened{});
}

TEST_F(ProcessorTest, PartsThatAreOffCountNothing) {
  map(kData, 1);
  processor.set_parts(kDataPart | kCodePart);
  processor.access(kData, kUser);
  processor.fetch(kData, 1, kUser);
  EXPECT_EQ(take(), (Happened{{{kDtlbWalks, kUser}, 1},
                              {{kDataMisses, kUser}, 1},
                              {{kItlbWalks, kUser}, 1},
                              {{kFetchMisses, kUser}, 1}}));
  processor.set_parts(kDataPart | kCodePart | kL2Part);
  processor.access(kData + kLine, kUser);
  EXPECT_EQ(take(), (Happened{{{kDataMisses, kUser}, 1},
                              {{kL2RequestsData, kUser}, 1},
                              {{kL2MissesData, kUser}, 1}}));
  processor.set_parts(kPredictorPart);
  processor.branch(InstructionKind::kConditional, 0x1000, 0x1002, 0x2000, kUser);
  EXPECT_EQ(take(), (Happened{{{kMispredicts, kUser}, 1}}));
}

TEST_F(ProcessorTest, PartsThatWereOffBeginEmptyAndTheOthersGoOn) {
  map(kData, 1);
  const auto use = [&] {
    processor.access(kData, kUser);
    processor.fetch(kData + kLine, 1, kUser);
    processor.branch(InstructionKind::kConditional, 0x1000, 0x1002, 0x2000, kUser);
    return take();
  };
  const Happened cold = use();
  EXPECT_EQ(cold.at({kL2MissesData, kUser}), 1u);
  EXPECT_EQ(use(), Happened{});
  processor.set_parts(kAllParts);
  EXPECT_EQ(use(), Happened{});
  processor.set_parts(0);
  processor.set_parts(kAllParts);
  EXPECT_EQ(use(), cold);

  processor.set_parts(kAllParts & ~kDataPart);
  processor.set_parts(kAllParts);
  EXPECT_EQ(use(), (Happened{{{kDtlbWalks, kUser}, 1},
                             {{kL2RequestsWalk, kUser}, 1},
                             {{kDataMisses, kUser}, 1},
                             {{kL2RequestsData, kUser}, 1},
                             {{kWaitCycles, kUser}, 100'000'002}}));
  processor.set_parts(kAllParts & ~kCodePart);
  processor.set_parts(kAllParts);
  EXPECT_EQ(use(), (Happened{{{kItlbWalks, kUser}, 1},
                             {{kL2RequestsWalk, kUser}, 1},
                             {{kFetchMisses, kUser}, 1},
                             {{kL2RequestsCode, kUser}, 1},
                             {{kWaitCycles, kUser}, 100'000'002}}));
  processor.set_parts(kAllParts & ~kPredictorPart);
  processor.set_parts(kAllParts);
  EXPECT_EQ(use(), (Happened{{{kMispredicts, kUser}, 1}, {{kWaitCycles, kUser}, 7}}));
}

TEST(Parts, AreThoseThatTheSourcesNeed) {
  EXPECT_EQ(parts_for(0), 0u);
  for (const Source source : {kInstructions, kBranches, kDataAccesses, kFetches, kInterrupts}) {
    EXPECT_EQ(parts_for(bits(source)), 0u) << source;  // counted without a model
  }
  EXPECT_EQ(parts_for(bits(kDataMisses)), kDataPart);
  EXPECT_EQ(parts_for(bits(kFetchMisses)), kCodePart);
  EXPECT_EQ(parts_for(bits(kItlbSecondHits)), kCodeTlbPart);
  for (unsigned size = 0; size < kPageSizes; ++size) {
    EXPECT_EQ(parts_for(SourceSet{1} << (kDtlbSecondHits + size)), kDataTlbPart);
    EXPECT_EQ(parts_for(SourceSet{1} << (kDtlbWalks + size)), kDataTlbPart);
    EXPECT_EQ(parts_for(SourceSet{1} << (kItlbWalks + size)), kCodeTlbPart);
    EXPECT_EQ(parts_for(SourceSet{1} << (kL2RequestsCode + size)), kL2Part | kDataPart | kCodePart);
    EXPECT_EQ(parts_for(SourceSet{1} << (kL2MissesCode + size)), kL2Part | kDataPart | kCodePart);
  }
  EXPECT_EQ(parts_for(bits(kMispredicts)), kPredictorPart);
  EXPECT_EQ(parts_for(bits(kWaitCycles)), kAllParts);
  EXPECT_EQ(parts_for(bits(kMispredicts) | bits(kDataMisses)), kPredictorPart | kDataPart);
}

TEST_F(ProcessorTest, AnotherAddressSpaceWalksAgainAndKeepsTheCaches) {
  map(kData, 1);
  map(kData + kPage, 1, k4K, PageTables::kGlobal);
  const auto use = [&] {
    processor.access(kData, kUser);
    processor.access(kData + kPage + kLine, kUser);
    processor.fetch(kData, 1, kUser);
    return take();
  };
  use();
  EXPECT_EQ(use(), Happened{});
  processor.forget_address_space();
  processor.flush_non_global();
  EXPECT_EQ(use(), (Happened{{{kDtlbWalks, kUser}, 1},
                             {{kItlbWalks, kUser}, 1},
                             {{kL2RequestsWalk, kUser}, 2},
                             {{kWaitCycles, kUser}, 200'000'002}}));
  EXPECT_EQ(processor.flushed().data_walks, 1u);
  EXPECT_EQ(processor.flushed().fetch_walks, 1u);
  processor.flush();
  EXPECT_EQ((use()[{kDtlbWalks, kUser}]), 2u);  // the global one too
  EXPECT_EQ(processor.flushed().data_walks, 3u);
  EXPECT_EQ(processor.flushed().fetch_walks, 2u);
  processor.flush_everything();
  EXPECT_EQ((use()[{kDtlbWalks, kUser}]), 2u);
}

TEST_F(ProcessorTest, APageDroppedIsDroppedForCodeAndData) {
  map(kData, 2);
  const auto use = [&] {
    for (uint64_t i = 0; i < 2; ++i) {
      processor.access(kData + i * kPage, kUser);
      processor.fetch(kData + i * kPage, 1, kUser);
    }
    return take();
  };
  use();
  EXPECT_EQ(use(), Happened{});
  processor.flush_page(kData + kPage);
  Happened after = use();
  EXPECT_EQ((after[{kDtlbWalks, kUser}]), 1u);
  EXPECT_EQ((after[{kItlbWalks, kUser}]), 1u);
}

// A short cut is taken for what was accessed a short while ago. Nothing may come out different from
// the TLB and the cache asked each time, whatever is flushed in between.
TEST_F(ProcessorTest, ShortCutsChangeNothing) {
  constexpr uint64_t kPages = 90;
  map(kData, kPages);
  for (const bool cached : {false, true}) {
    processor.set_parts(0);
    processor.set_parts(cached ? kDataPart : kDataTlbPart);
    const Geometry same = geometry();
    Generations generations;
    Tlb tlb(same.dtlb, generations);
    Cache cache(same.l1d, same.line_bytes);
    Happened expected;
    const auto ask = [&](uint64_t address) {
      const Tlb::Entry* entry = tlb.find_first(address, 0);
      if (entry == nullptr) {
        entry = tlb.find_second(address, 0);
        Source source = kDtlbSecondHits;
        if (entry == nullptr) {
          entry = tlb.fill(address, 0, walk(machine.space, address, machine)->page, true).entry;
          source = kDtlbWalks;
        }
        ++expected[{source, kUser}];
      }
      const uint64_t physical = entry->frame + address % kPage;
      if (cached && !cache.access(address / kLine, physical / kLine)) {
        ++expected[{kDataMisses, kUser}];
      }
    };
    take();
    uint64_t state = 1;
    const auto random = [&](uint64_t below) {
      state = state * 6364136223846793005 + 1442695040888963407;
      return (state >> 33) % below;
    };
    for (int step = 0; step < 300'000; ++step) {
      // Near the last access, mostly, as programs do.
      const uint64_t page = random(4) == 0 ? random(kPages) : random(6);
      const uint64_t address = kData + page * kPage + random(8) * 8 + random(2) * 2048;
      processor.access(address, kUser);
      ask(address);
      switch (random(2000)) {
        case 0:
          processor.flush_non_global();
          generations.flush_non_global(0);
          break;
        case 1:
          processor.flush();
          generations.flush(0);
          break;
        case 2:
          processor.flush_page(address);
          tlb.drop(address, 0);
          break;
        default:
          break;
      }
    }
    EXPECT_EQ(take(), expected) << cached;
  }
}

// More flushes than the short cuts tell apart.
TEST_F(ProcessorTest, NoFlushIsEverForgotten) {
  map(kData, 1);
  processor.set_parts(kDataTlbPart);
  processor.access(kData, kUser);
  take();
  for (int i = 0; i < 1 << 16; ++i) {
    processor.flush();
  }
  processor.access(kData, kUser);
  EXPECT_EQ(take(), (Happened{{{kDtlbWalks, kUser}, 1}}));
}

// As after a reset, or in system management mode.
TEST_F(ProcessorTest, AChangeThatNothingAnnouncedIsNoticed) {
  map(kData, 2);
  processor.access(kData, kUser);
  take();
  const AddressSpace before = machine.space;
  machine.space.cr3 = machine.tables.new_table();
  map(kData, 2);
  processor.access(kData + kPage, kUser);
  EXPECT_EQ(take(kDtlbWalks), 1u);
  processor.access(kData, kUser);
  EXPECT_EQ(take(kDtlbWalks), 1u);  // what was translated before is so no longer

  machine.space = {};  // no paging
  processor.access(kData + 100 * kPage, kUser);
  take();
  processor.access(0x3000, kUser);
  EXPECT_EQ(take(), (Happened{{{kDataMisses, kUser}, 1},
                              {{kL2RequestsData, kUser}, 1},
                              {{kL2MissesData, kUser}, 1},
                              {{kWaitCycles, kUser}, 1000}}));
  machine.space = before;
  processor.access(kData, kUser);
  EXPECT_EQ(take(kDtlbWalks), 1u);
}

TEST_F(ProcessorTest, AGuestHasTranslationsOfItsOwnAndWalksTwoTables) {
  map(kData, 1);
  processor.access(kData, kKernel);
  take();
  EXPECT_FALSE(processor.in_guest());

  // The guest's tables and page are where they seem to it.
  const AddressSpace host = machine.space;
  const uint64_t guest_root = machine.tables.new_table();
  machine.tables.map(guest_root, kData, kData + kBehind);
  machine.space.asid = 3;
  machine.space.nested = true;
  machine.space.cr3 = guest_root;
  machine.space.nested_cr3 = machine.tables.new_table();
  machine.tables.map(machine.space.nested_cr3, 0x1000'0000, 0x1000'0000, k2M);
  machine.tables.map(machine.space.nested_cr3, kData + kBehind, kData + kBehind);
  processor.forget_address_space();
  EXPECT_TRUE(processor.in_guest());
  processor.access(kData, kGuestUser);
  EXPECT_EQ(take(), (Happened{{{kDtlbWalks, kGuestUser}, 1},
                              {{kL2RequestsWalk, kGuestUser}, 2},
                              {{kL2MissesWalk, kGuestUser}, 2},
                              {{kWaitCycles, kGuestUser}, 100'002'000}}));

  machine.space = host;
  processor.forget_address_space();
  processor.access(kData, kKernel);
  EXPECT_EQ(take(), Happened{});
}

TEST_F(ProcessorTest, MispredictsAreWaitedFor) {
  const auto branch = [&] {
    processor.branch(InstructionKind::kIndirectJump, 0x1000, 0x1002, 0x2000, kKernel);
    return take();
  };
  EXPECT_EQ(branch(), (Happened{{{kMispredicts, kKernel}, 1}, {{kWaitCycles, kKernel}, 7}}));
  EXPECT_EQ(branch(), Happened{});
}

class Pieces : public ProcessorTest {
 protected:
  Pieces() : ProcessorTest(without_large_pages()) {}
  static Geometry without_large_pages() {
    Geometry wanted = geometry();
    wanted.dtlb.first[k2M] = {0, 0};
    return wanted;
  }
};

TEST_F(Pieces, ALargePageWithoutEntriesCountsAsTheSmallOnesItIsHeldAs) {
  map(kData, 1, k2M);
  for (uint64_t i = 0; i < 8; ++i) {
    processor.access(kData + i * kPage, kUser);
  }
  Happened events = take();
  EXPECT_EQ((events[{kDtlbWalks, kUser}]), 8u);
  EXPECT_EQ((events[{kL2RequestsWalk, kUser}]), 8u);
  EXPECT_EQ((events[{kL2MissesWalk, kUser}]), 1u);  // one entry of the table
  EXPECT_EQ((events[{kDataMisses, kUser}]), 8u);
  EXPECT_EQ((events[{kL2MissesData, kUser}]), 8u);  // eight lines of memory
}

TEST_F(Pieces, EachPieceIsMemoryOrADevice) {
  map(kData, 1, k2M);
  machine.device_from = kData + kBehind + kPage;
  machine.device_to = machine.device_from + kPage;
  processor.access(kData, kUser);
  EXPECT_EQ(take(kDataMisses), 1u);
  processor.access(kData + kPage, kUser);
  EXPECT_EQ(take(kDataMisses), 0u);
}

class LargeCode : public ProcessorTest {
 protected:
  LargeCode() : ProcessorTest(with_second_level()) {}
  static Geometry with_second_level() {
    Geometry wanted = geometry();
    wanted.itlb.second[k2M] = {64, 4};
    return wanted;
  }
};

TEST_F(LargeCode, SecondLevelHitsOfCodeAreOneKindWhateverThePage) {
  map(kData, 17, k2M);  // one more than the first level has
  const auto round = [&] {
    for (uint64_t i = 0; i < 17; ++i) {
      processor.fetch(kData + (i << 21) + i * kLine, 1, kUser);
    }
    return take();
  };
  EXPECT_EQ((round()[{of_size(kItlbWalks, k2M), kUser}]), 17u);
  EXPECT_EQ(round(),
            (Happened{{{kItlbSecondHits, kUser}, 17}, {{kWaitCycles, kUser}, 17'000'000}}));
}

Geometry with_shared_l2() {
  Geometry wanted = geometry();
  wanted.l2_shared = true;
  return wanted;
}

TEST(SharedSecondLevel, OneFindsWhatAnotherBrought) {
  const Geometry wanted = with_shared_l2();
  SecondLevel second_level(wanted);
  Machine machine;
  machine.space = {};  // no paging
  std::array<Recorder, 2> recorders;
  Processor one(wanted, second_level, machine, recorders[0]);
  Processor other(wanted, second_level, machine, recorders[1]);
  one.set_parts(kAllParts);
  one.access(0x1000, kUser);
  EXPECT_EQ((recorders[0].events[{kL2MissesData, kUser}]), 1u);
  other.set_parts(kAllParts);  // leaves alone what the first one uses
  other.access(0x1000, kUser);
  EXPECT_EQ(recorders[1].events, (Happened{{{kDataMisses, kUser}, 1},
                                           {{kL2RequestsData, kUser}, 1},
                                           {{kWaitCycles, kUser}, 1}}));
}

TEST(SharedSecondLevel, LosesNothingBetweenThreads) {
  const Geometry wanted = with_shared_l2();
  SecondLevel second_level(wanted);
  constexpr uint64_t kLines = (512 << 10) / kLine;  // all of it
  std::array<uint64_t, 2> misses{};
  const auto walk = [&](uint64_t& missed) {
    for (unsigned round = 0; round < 10; ++round) {
      for (uint64_t line = 0; line < kLines; ++line) {
        missed += !second_level.access(line);
      }
    }
  };
  {
    std::jthread first(walk, std::ref(misses[0]));
    std::jthread second(walk, std::ref(misses[1]));
  }
  EXPECT_EQ(misses[0] + misses[1], kLines);
}

}  // namespace
}  // namespace xenoprof::pmu
