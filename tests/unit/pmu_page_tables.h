// SPDX-License-Identifier: GPL-2.0-or-later
// Page tables for tests, in a physical memory that has nothing else.
#pragma once

#include <cstdint>
#include <map>

#include "address_space.h"

namespace xenoprof::pmu {

class PageTables final : public PhysicalMemory {
 public:
  static constexpr uint64_t kPresent = 1;
  static constexpr uint64_t kLarge = 1 << 7;
  static constexpr uint64_t kGlobal = 1 << 8;

  uint64_t read(uint64_t address) override {
    const auto found = words_.find(address);
    return found == words_.end() ? 0 : found->second;
  }
  void write(uint64_t address, uint64_t value) { words_[address] = value; }
  void write32(uint64_t address, uint32_t value) {
    uint64_t& word = words_[address & ~uint64_t{7}];
    const unsigned shift = address & 4 ? 32 : 0;
    word = (word & ~(uint64_t{0xffff'ffff} << shift)) | uint64_t{value} << shift;
  }

  uint64_t new_table() { return next_ += 4096; }

  // Maps a page with tables of 512 entries, `levels` of them. Returns the address of its entry.
  uint64_t map(uint64_t root, uint64_t address, uint64_t frame, PageSize size = k4K,
               uint64_t flags = 0, unsigned levels = 4) {
    uint64_t table = root;
    for (unsigned level = levels - 1; level > size; --level) {
      const uint64_t at = entry(table, address, level);
      if (!(read(at) & kPresent)) {
        write(at, new_table() | kPresent);
      }
      table = read(at) & 0x000f'ffff'ffff'f000;
    }
    const uint64_t at = entry(table, address, size);
    write(at, frame | flags | kPresent | (size == k4K ? 0 : kLarge));
    return at;
  }

  static uint64_t entry(uint64_t table, uint64_t address, unsigned level) {
    return table + (address >> (12 + 9 * level) & 511) * 8;
  }

 private:
  std::map<uint64_t, uint64_t> words_;
  uint64_t next_ = 0x1000'0000;
};

}  // namespace xenoprof::pmu
