// SPDX-License-Identifier: GPL-2.0-or-later
// The walk through page tables of each format.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "address_space.h"
#include "pmu_page_tables.h"

namespace xenoprof::pmu {
namespace {

constexpr uint64_t kPaging = uint64_t{1} << 31;
constexpr uint64_t kPse = 1 << 4;
constexpr uint64_t kPae = 1 << 5;
constexpr uint64_t kPge = 1 << 7;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kKernelAddress = 0xffff'ffff'8123'4567;

AddressSpace long_mode(uint64_t root) {
  return {.cr0 = kPaging, .cr3 = root, .cr4 = kPae | kPge, .long_mode = true};
}

uint64_t bytes_of(PageSize size) {
  return uint64_t{1} << (12 + 9 * size);
}

void expect_walk(const std::optional<Walk>& found, uint64_t frame, PageSize size, uint64_t leaf) {
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->page.frame, frame);
  EXPECT_EQ(found->page.size, size);
  EXPECT_EQ(found->leaf, leaf);
}

TEST(Walk, FourLevels) {
  for (const PageSize size : {k4K, k2M, k1G}) {
    for (const uint64_t address : {uint64_t{0}, uint64_t{0x7fff'ffff'ffff}, kKernelAddress}) {
      PageTables tables;
      const uint64_t root = tables.new_table();
      const uint64_t frame = 5 * bytes_of(size);
      const uint64_t leaf = tables.map(root, address, frame, size, kNoExecute | 0x66);
      // Of CR3 the lower bits say how the table itself is cached.
      const auto found = walk(long_mode(root | 0x18), address, tables);
      expect_walk(found, frame, size, leaf);
      EXPECT_FALSE(found->page.global);
      EXPECT_FALSE(found->nested_leaf.has_value());
      EXPECT_FALSE(walk(long_mode(root), address ^ bytes_of(size), tables).has_value());
    }
  }
}

TEST(Walk, FramesHaveUpToFiftyTwoBitsAndNoneOfTheFlags) {
  PageTables tables;
  const uint64_t root = tables.new_table();
  const uint64_t frame = 0x000f'ffff'c000'0000;
  constexpr uint64_t kIgnored = 0x7ff0'0000'0000'0000;
  constexpr uint64_t kPatOfLarge = 1 << 12;
  for (const PageSize size : {k4K, k2M, k1G}) {
    const uint64_t address = uint64_t{size} << 40;
    const uint64_t leaf = tables.map(root, address, frame, size,
                                     kIgnored | (size == k4K ? PageTables::kLarge : kPatOfLarge));
    expect_walk(walk(long_mode(root), address, tables), frame, size, leaf);
  }
}

TEST(Walk, AnEntryThatIsNotPresentEndsItAtAnyLevel) {
  for (unsigned level = 0; level < 4; ++level) {
    PageTables tables;
    const uint64_t root = tables.new_table();
    tables.map(root, kKernelAddress, 0x5000);
    uint64_t table = root;
    for (unsigned above = 3; above > level; --above) {
      table = tables.read(PageTables::entry(table, kKernelAddress, above)) & ~uint64_t{0xfff};
    }
    const uint64_t at = PageTables::entry(table, kKernelAddress, level);
    tables.write(at, tables.read(at) & ~PageTables::kPresent);
    EXPECT_FALSE(walk(long_mode(root), kKernelAddress, tables).has_value()) << level;
  }
}

TEST(Walk, AnEntryOfTheTopLevelIsNeverAPage) {
  PageTables tables;
  const uint64_t root = tables.new_table();
  const uint64_t leaf = tables.map(root, kKernelAddress, 0x5000);
  const uint64_t top = PageTables::entry(root, kKernelAddress, 3);
  tables.write(top, tables.read(top) | PageTables::kLarge);
  expect_walk(walk(long_mode(root), kKernelAddress, tables), 0x5000, k4K, leaf);
}

TEST(Walk, PagesAreGlobalIfTheirEntryAndCr4SaySo) {
  for (const PageSize size : {k4K, k2M, k1G}) {
    PageTables tables;
    const uint64_t root = tables.new_table();
    tables.map(root, kKernelAddress, 0, size, PageTables::kGlobal);
    AddressSpace space = long_mode(root);
    EXPECT_TRUE(walk(space, kKernelAddress, tables)->page.global);
    space.cr4 = kPae;
    EXPECT_FALSE(walk(space, kKernelAddress, tables)->page.global);
  }
}

TEST(Walk, Pae) {
  PageTables tables;
  const uint64_t pointers = tables.new_table() + 0x7e0;  // anywhere on 32 bytes
  const uint64_t directory = tables.new_table();
  const uint32_t address = 0xc123'4567;
  tables.write(pointers + 3 * 8, directory | 1);
  const AddressSpace space{.cr0 = kPaging, .cr3 = pointers | 0x18, .cr4 = kPae};
  const uint64_t small = tables.map(directory, address, 0x9'8765'4000, k4K, kNoExecute, 2);
  expect_walk(walk(space, address, tables), 0x9'8765'4000, k4K, small);
  const uint32_t other = 0xc060'0000;
  const uint64_t large = tables.map(directory, other, 0x9'0020'0000, k2M, 0, 2);
  expect_walk(walk(space, other + 0x1f'ffff, tables), 0x9'0020'0000, k2M, large);
  EXPECT_FALSE(walk(space, other + 0x20'0000, tables).has_value());
  EXPECT_FALSE(walk(space, 0x4123'4567, tables).has_value());  // its pointer is not present
}

TEST(Walk, Legacy) {
  PageTables tables;
  const uint64_t directory = tables.new_table();
  const uint64_t table = tables.new_table();
  AddressSpace space{.cr0 = kPaging, .cr3 = directory | 0x18, .cr4 = 0};
  const auto entry = [](uint64_t at, uint32_t index) { return at + 4 * index; };
  // Neighbours in the same eight bytes.
  const uint32_t address = 0xc080'6000;
  tables.write32(entry(directory, address >> 22), static_cast<uint32_t>(table | 1));
  tables.write32(entry(table, 6), 0xdead'b000 | 1);
  tables.write32(entry(table, 7), 0xbeef'0000 | 1 | PageTables::kGlobal);
  expect_walk(walk(space, address + 0xfff, tables), 0xdead'b000, k4K, entry(table, 6));
  expect_walk(walk(space, address + 0x1000, tables), 0xbeef'0000, k4K, entry(table, 7));
  EXPECT_FALSE(walk(space, address + 0x2000, tables).has_value());
  EXPECT_FALSE(walk(space, 0, tables).has_value());
  EXPECT_FALSE(walk(space, address + 0x1000, tables)->page.global);
  space.cr4 = kPge;
  EXPECT_TRUE(walk(space, address + 0x1000, tables)->page.global);
  EXPECT_FALSE(walk(space, address, tables)->page.global);
}

TEST(Walk, LegacyLargePagesAreHeldAsTheirHalves) {
  PageTables tables;
  const uint64_t directory = tables.new_table();
  AddressSpace space{.cr0 = kPaging, .cr3 = directory, .cr4 = kPse};
  const uint32_t address = 0x0040'0000;
  const uint64_t leaf = directory + 4;
  // Bits 20:13 are 39:32 of the frame.
  tables.write32(leaf, 0x1340'0000 | 0x12 << 13 | PageTables::kLarge | 1);
  expect_walk(walk(space, address + 5, tables), 0x12'1340'0000, k2M, leaf);
  expect_walk(walk(space, address + 0x20'0000, tables), 0x12'1360'0000, k2M, leaf);
  space.cr4 = 0;  // without page size extensions it points to a table
  const uint64_t table = 0x1340'0000 | 0x12 << 13;
  tables.write32(table, 0x7000 | 1);
  expect_walk(walk(space, address + 5, tables), 0x7000, k4K, table);
}

// A guest whose physical memory is 4 GiB further up in the machine's.
class Nested : public testing::Test {
 protected:
  static constexpr uint64_t kShift = uint64_t{4} << 30;

  // Maps the guest's tables.
  uint64_t new_nested_root() {
    const uint64_t root = tables.new_table();
    for (uint64_t at = 0; at < uint64_t{1} << 21; at += 4096) {
      tables.map(root, kGuestTables + at, kShift + kGuestTables + at);
    }
    return root;
  }
  uint64_t new_guest_table() { return next_guest_table += 4096; }
  void write_guest(uint64_t at, uint64_t value) { tables.write(kShift + at, value); }
  // Four levels for one page. Returns where the last entry is in the machine.
  uint64_t map_guest(uint64_t root, uint64_t address, uint64_t frame, PageSize size,
                     uint64_t flags = 0) {
    uint64_t table = root;
    for (unsigned level = 3; level > size; --level) {
      const uint64_t below = new_guest_table();
      write_guest(PageTables::entry(table, address, level), below | 1);
      table = below;
    }
    const uint64_t at = PageTables::entry(table, address, size);
    write_guest(at, frame | 1 | flags | (size == k4K ? 0 : PageTables::kLarge));
    return kShift + at;
  }
  AddressSpace guest(uint64_t root) {
    AddressSpace space = long_mode(root);
    space.asid = 1;
    space.nested = true;
    space.nested_cr3 = nested_root;
    return space;
  }

  static constexpr uint64_t kGuestTables = 0x20'0000;
  static constexpr uint64_t kGuestPage = 0x7000'0000'0000;
  PageTables tables;
  uint64_t nested_root = new_nested_root();
  uint64_t next_guest_table = kGuestTables;
};

TEST_F(Nested, APageIsAsLargeAsBothTablesMapInOnePiece) {
  struct Case {
    PageSize inner;
    PageSize outer;
  };
  for (const Case& test :
       {Case{k4K, k4K}, Case{k4K, k2M}, Case{k4K, k1G}, Case{k2M, k4K}, Case{k2M, k2M},
        Case{k2M, k1G}, Case{k1G, k4K}, Case{k1G, k2M}, Case{k1G, k1G}}) {
    const uint64_t root = new_guest_table();
    const uint64_t guest_frame = (uint64_t{20} << 30) + 3 * bytes_of(test.inner);
    const uint64_t inside = bytes_of(test.inner) - 0xdcc;  // in the last small page of a large one
    const uint64_t leaf = map_guest(root, kGuestPage, guest_frame, test.inner);
    const uint64_t outer_page = (guest_frame + inside) & ~(bytes_of(test.outer) - 1);
    const uint64_t outer_frame = (uint64_t{512} << 30) + 7 * bytes_of(test.outer);
    nested_root = new_nested_root();
    const uint64_t nested_leaf = tables.map(nested_root, outer_page, outer_frame, test.outer);
    const auto found = walk(guest(root), kGuestPage + inside, tables);
    const PageSize size = std::min(test.inner, test.outer);
    const uint64_t machine = outer_frame + (guest_frame + inside - outer_page);
    expect_walk(found, machine & ~(bytes_of(size) - 1), size, leaf);
    EXPECT_EQ(found->nested_leaf, nested_leaf);
  }
}

TEST_F(Nested, GlobalIsWhatTheGuestSays) {
  const uint64_t root = new_guest_table();
  map_guest(root, 0, kGuestTables, k4K, PageTables::kGlobal);
  map_guest(root, uint64_t{1} << 39, kGuestTables, k4K);
  EXPECT_TRUE(walk(guest(root), 0, tables)->page.global);
  EXPECT_FALSE(walk(guest(root), uint64_t{1} << 39, tables)->page.global);
}

TEST_F(Nested, WhatTheNestedTablesLackEndsTheWalk) {
  const uint64_t root = new_guest_table();
  map_guest(root, 0, uint64_t{20} << 30, k4K);
  EXPECT_FALSE(walk(guest(root), 0, tables).has_value());  // the page itself
  tables.map(nested_root, uint64_t{20} << 30, uint64_t{24} << 30);
  EXPECT_TRUE(walk(guest(root), 0, tables).has_value());
  EXPECT_FALSE(walk(guest(root), uint64_t{1} << 39, tables).has_value());  // the guest's own
  EXPECT_FALSE(walk(guest(uint64_t{21} << 30), 0, tables).has_value());    // the guest's table
}

TEST_F(Nested, GuestsMayUseThe32BitFormats) {
  const uint64_t directory = new_guest_table();
  const uint64_t pointers = new_guest_table();
  write_guest(pointers, directory | 1);
  write_guest(directory + 8, kGuestTables | PageTables::kLarge | 1);
  AddressSpace pae = guest(pointers);
  pae.long_mode = false;
  auto found = walk(pae, 0x20'0000 + 0x3000, tables);
  expect_walk(found, kShift + kGuestTables + 0x3000, k4K, kShift + directory + 8);

  const uint64_t legacy_directory = new_guest_table();
  const uint64_t legacy_table = new_guest_table();
  write_guest(legacy_directory, legacy_table | 1);
  write_guest(legacy_table, (kGuestTables | 1) << 32);  // the second entry
  AddressSpace legacy = guest(legacy_directory);
  legacy.long_mode = false;
  legacy.cr4 = 0;
  found = walk(legacy, 0x1000, tables);
  expect_walk(found, kShift + kGuestTables, k4K, kShift + legacy_table + 4);
}

// A guest writes what it likes.
class Noise final : public PhysicalMemory {
 public:
  uint64_t read(uint64_t) override {
    ++reads;
    return random() | (reads % 8 != 0 ? 1 : 0);
  }
  std::mt19937_64 random{1};
  uint64_t reads = 0;
};

TEST(Walk, OfNonsenseEndsAfterAsManyReadsAsThereAreLevels) {
  Noise noise;
  unsigned mapped = 0;
  for (unsigned i = 0; i < 50000; ++i) {
    AddressSpace space{.cr0 = kPaging,
                       .cr3 = noise.random(),
                       .cr4 = noise.random(),
                       .long_mode = i % 2 == 0,
                       .asid = 1,
                       .nested = i % 3 == 0,
                       .nested_cr3 = noise.random()};
    noise.reads = 0;
    const auto found = walk(space, noise.random(), noise);
    // Nested: four for each of the guest's and for its page, and the guest's.
    ASSERT_LE(noise.reads, space.nested ? 24u : 4u);
    if (found) {
      ++mapped;
      ASSERT_EQ(found->page.frame % bytes_of(found->page.size), 0u);
    }
  }
  EXPECT_GT(mapped, 1000u);
}

}  // namespace
}  // namespace xenoprof::pmu
