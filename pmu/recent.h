// SPDX-License-Identifier: GPL-2.0-or-later
// A short cut before a side's TLB and cache: what was accessed a short while ago and found. With a
// cache these are lines, one a set and its most recent, so that another access changes nothing but
// its translation's time of use. Without a cache they are pages. What each access of the machine
// looks at is kept small: the host's cache is the machine's, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tlb.h"

namespace xenoprof::pmu {

class Recent {
 public:
  Recent() { reset(0, 1); }
  // `units` of 1 << shift bytes, a power of two of them.
  void reset(unsigned shift, uint64_t units) {
    shift_ = shift;
    mask_ = units - 1;
    storage_.assign(units, Slot{});
    slots_ = storage_.data();
  }

  uint64_t unit_bytes() const { return uint64_t{1} << shift_; }

  // True if it is here. Inlined in what each access of the machine calls. `shift` is reset()'s; it
  // may be another as long as nothing is here.
  bool use(uint64_t address, Tlb& tlb, unsigned shift) {
    const uint64_t number = address >> shift;
    const Slot& slot = slots_[number & mask_];
    if (slot.tag != tag(number)) {
      return false;
    }
    Tlb::Entry& entry = tlb.first_entry(slot.entry);
    if (entry.serial != slot.serial) {
      return false;
    }
    tlb.use(entry);
    return true;
  }
  bool use(uint64_t address, Tlb& tlb) { return use(address, tlb, shift_); }

  void remember(uint64_t address, const Tlb::Entry& entry, const Tlb& tlb) {
    const uint64_t number = address >> shift_;
    slots_[number & mask_] = {tag(number), tlb.first_index(entry), entry.serial};
  }

  void forget() {
    epoch_ = epoch_ == kLastEpoch ? 0 : epoch_ + 1;
    if (epoch_ == 0) {
      std::fill(storage_.begin(), storage_.end(), Slot{});
    }
  }

 private:
  // Pushes out what follows from an address's bit 47.
  static constexpr unsigned kEpochBits = 16;
  static constexpr uint64_t kLastEpoch = (uint64_t{1} << kEpochBits) - 2;  // so no tag is kNone
  static constexpr uint64_t kNone = ~uint64_t{0};

  struct Slot {
    uint64_t tag = kNone;  // number of the line or page, and epoch_
    uint32_t entry = 0;    // of the TLB's first level
    uint32_t serial = 0;   // of the entry then
  };
  static_assert(sizeof(Slot) == 16);

  uint64_t tag(uint64_t number) const { return number << kEpochBits | epoch_; }

  Slot* slots_ = nullptr;  // of storage_
  uint64_t mask_ = 0;
  unsigned shift_ = 0;
  uint64_t epoch_ = 0;  // another after each time of forgetting, until all its bits have been used
  std::vector<Slot> storage_;
};

}  // namespace xenoprof::pmu
