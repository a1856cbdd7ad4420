// SPDX-License-Identifier: GPL-2.0-or-later
// Finds the index of an element that a vector has already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace xenoprof {

// Mixes one more value into a hash (the 64-bit finaliser of splitmix64).
constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  std::uint64_t x = (hash ^ value) + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Open addressing over the elements' hashes and indices alone: profiles have millions of elements,
// and a node for each would cost more memory and time than the elements.
class IdIndex {
 public:
  // Has the memory fetched that insert() will look at.
  void expect(std::uint64_t hash) const {
    if (!slots_.empty()) {
      __builtin_prefetch(&slots_[(hash >> 32) & (slots_.size() - 1)]);
    }
  }

  // The index of the element with this hash for which `equal(index)` holds, and false; where there
  // is none, the next index, which the caller's vector is about to get, and true.
  template <class Equal>
  std::pair<std::uint32_t, bool> insert(std::uint64_t hash, const Equal& equal) {
    if (2 * size_ >= slots_.size()) {
      grow();
    }
    const std::size_t mask = slots_.size() - 1;
    const auto kept = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t at = kept & mask;; at = (at + 1) & mask) {
      Slot& slot = slots_[at];
      if (slot.id == kNone) {
        slot = {kept, size_};
        return {size_++, true};
      }
      if (slot.hash == kept && equal(slot.id)) {
        return {slot.id, false};
      }
    }
  }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t id = kNone;
  };

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : 2 * slots_.size());
    old.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.id != kNone) {
        std::size_t at = slot.hash & mask;
        while (slots_[at].id != kNone) {
          at = (at + 1) & mask;
        }
        slots_[at] = slot;
      }
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  std::uint32_t size_ = 0;
};

}  // namespace xenoprof
