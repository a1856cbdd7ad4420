// SPDX-License-Identifier: GPL-2.0-or-later
// One side's TLBs (instructions or data): two levels, pages of each size apart, least recently
// used first to go. Flushes are lazy: an entry is current while it carries the generation of its
// address space, so a flush is one addition, and a miss can be told to come from one.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "address_space.h"
#include "geometry.h"

namespace xenoprof::pmu {

// Which translations of each address space are current. One for both sides of a vCPU.
class Generations {
 public:
  static constexpr unsigned kAddressSpaces = 64;  // ASIDs beyond share a slot: flushed together

  Generations() { flush_everything(); }

  uint64_t current(uint16_t asid, bool global) const {
    return current_[asid % kAddressSpaces][global];
  }
  void flush_non_global(uint16_t asid) { current_[asid % kAddressSpaces][false] = next_++; }
  void flush(uint16_t asid) {
    flush_non_global(asid);
    current_[asid % kAddressSpaces][true] = next_++;
  }
  void flush_everything() {
    for (unsigned asid = 0; asid < kAddressSpaces; ++asid) {
      flush(static_cast<uint16_t>(asid));
    }
  }

 private:
  uint64_t next_ = 1;  // 0 is never current
  std::array<std::array<uint64_t, 2>, kAddressSpaces> current_;
};

class Tlb {
 public:
  struct alignas(64) Entry {
    uint64_t key = 0;  // page number, size and ASID; 0 is no page's
    uint64_t generation = 0;
    uint64_t last_used = 0;
    uint64_t frame = 0;
    uint32_t serial = 0;  // another with each change of what is held here
    uint16_t asid = 0;
    PageSize size = k4K;
    bool global = false;
    bool memory = false;  // not a device's registers
  };

  Tlb(const TlbSide& geometry, const Generations& generations);
  Tlb(const Tlb&) = delete;

  // An entry that the first level is known to hold still.
  void use(Entry& entry) { entry.last_used = ++clock_; }
  // The first level's entries by number.
  Entry& first_entry(uint32_t index) { return first_entries_[index]; }
  uint32_t first_index(const Entry& entry) const {
    return static_cast<uint32_t>(&entry - first_entries_);
  }

  // The entry for this address if the first level has it, else null.
  Entry* find_first(uint64_t address, uint16_t asid) {
    Entry* const entry = hints_[hint(address)];
    if (entry->key == key(address, asid, entry->size) && is_current(*entry)) {
      use(*entry);
      return entry;
    }
    return search_first(address, asid);
  }

  // For an address that the first level lacks: moves it there from the second, if it is there.
  Entry* find_second(uint64_t address, uint16_t asid);

  struct Filled {
    Entry* entry;
    bool flushed;  // it was here, but for a flush
  };
  // For an address that both levels lack.
  Filled fill(uint64_t address, uint16_t asid, const Page& page, bool memory);

  void drop(uint64_t address, uint16_t asid);
  void clear();

 private:
  class Array {
   public:
    // Of `entries`, as many as the geometry says.
    Array(const TlbGeometry& geometry, Entry* entries)
        : sets_(geometry.entries == 0 ? 0 : geometry.entries / geometry.ways),
          ways_(geometry.ways),
          entries_(entries, geometry.entries) {}
    bool empty() const { return entries_.empty(); }
    // Current or not.
    Entry* find(uint64_t key, uint64_t page_number);
    // Where `key` was if it still shows, else an entry that is not current, else the oldest.
    template <class IsCurrent>
    Entry& victim(uint64_t key, uint64_t page_number, IsCurrent is_current);

   private:
    Entry* set(uint64_t page_number) { return &entries_[(page_number & (sets_ - 1)) * ways_]; }

    uint32_t sets_;
    uint32_t ways_;
    std::span<Entry> entries_;
  };

  static constexpr unsigned kHints = 256;
  static size_t hint(uint64_t address) { return (address >> 12 ^ address >> 20) % kHints; }
  static uint64_t page_number(uint64_t address, PageSize size) {
    return (address & 0xffff'ffff'ffff) >> (12 + 9 * size);
  }
  static uint64_t key(uint64_t address, uint16_t asid, PageSize size) {
    return page_number(address, size) << 2 | uint64_t{asid} << 40 | (size + 1u);
  }
  bool is_current(const Entry& entry) const {
    return entry.generation == generations_->current(entry.asid, entry.global);
  }
  Array& first(PageSize size) { return first_[shared_ ? k4K : size]; }
  Entry* search_first(uint64_t address, uint16_t asid);
  Entry* place(Array& array, const Entry& content, uint64_t address);
  PageSize held_as(PageSize size) const;

  const Generations* generations_;
  bool shared_;
  uint64_t clock_ = 0;
  uint32_t serial_ = 0;
  std::vector<Entry> entries_;  // the first level's of all sizes, then the second's
  Entry* first_entries_;        // of entries_
  std::vector<Array> first_;    // by PageSize
  std::vector<Array> second_;   // by PageSize
  Entry nothing_;
  std::array<Entry*, kHints> hints_;  // into first_ or to nothing_; checked before use
};

}  // namespace xenoprof::pmu
