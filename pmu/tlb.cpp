// SPDX-License-Identifier: GPL-2.0-or-later
#include "tlb.h"

#include <algorithm>

namespace xenoprof::pmu {
namespace {

constexpr std::array kSizes = {k4K, k2M, k1G};

}  // namespace

Tlb::Entry* Tlb::Array::find(uint64_t key, uint64_t page_number) {
  if (empty()) {
    return nullptr;
  }
  Entry* const entries = set(page_number);
  for (uint32_t way = 0; way < ways_; ++way) {
    if (entries[way].key == key) {
      return &entries[way];
    }
  }
  return nullptr;
}

template <class IsCurrent>
Tlb::Entry& Tlb::Array::victim(uint64_t key, uint64_t page_number, IsCurrent is_current) {
  Entry* const entries = set(page_number);
  Entry* chosen = entries;
  bool chosen_current = is_current(*chosen);
  for (uint32_t way = 0; way < ways_; ++way) {
    Entry& entry = entries[way];
    if (entry.key == key) {
      return entry;
    }
    const bool current = is_current(entry);
    if (current != chosen_current ? chosen_current : entry.last_used < chosen->last_used) {
      chosen = &entry;
      chosen_current = current;
    }
  }
  return *chosen;
}

Tlb::Tlb(const TlbSide& geometry, const Generations& generations)
    : generations_(&generations), shared_(geometry.shared) {
  size_t entries = 0;
  for (const PageSize size : kSizes) {
    entries += size_t{geometry.first[size].entries} + geometry.second[size].entries;
  }
  entries_.resize(entries);
  first_entries_ = entries_.data();
  Entry* next = first_entries_;
  const auto add = [&next](std::vector<Array>& level, const TlbGeometry& of_size) {
    level.emplace_back(of_size, next);
    next += of_size.entries;
  };
  for (const PageSize size : kSizes) {
    add(first_, geometry.first[size]);
  }
  for (const PageSize size : kSizes) {
    add(second_, geometry.second[size]);
  }
  hints_.fill(&nothing_);
}

// A processor without entries for large pages holds the part of one that it needs.
PageSize Tlb::held_as(PageSize size) const {
  while (!shared_ && size != k4K && first_[size].empty()) {
    size = static_cast<PageSize>(size - 1);
  }
  return size;
}

Tlb::Entry* Tlb::search_first(uint64_t address, uint16_t asid) {
  for (const PageSize size : kSizes) {
    Entry* const entry = first(size).find(key(address, asid, size), page_number(address, size));
    if (entry != nullptr && is_current(*entry)) {
      use(*entry);
      hints_[hint(address)] = entry;
      return entry;
    }
  }
  return nullptr;
}

Tlb::Entry* Tlb::place(Array& array, const Entry& content, uint64_t address) {
  Entry& entry = array.victim(content.key, page_number(address, content.size),
                              [this](const Entry& other) { return is_current(other); });
  entry = content;
  entry.serial = ++serial_;
  use(entry);
  return &entry;
}

Tlb::Entry* Tlb::find_second(uint64_t address, uint16_t asid) {
  for (const PageSize size : kSizes) {
    Entry* const entry = second_[size].find(key(address, asid, size), page_number(address, size));
    if (entry != nullptr && is_current(*entry)) {
      use(*entry);
      return hints_[hint(address)] = place(first(size), *entry, address);
    }
  }
  return nullptr;
}

Tlb::Filled Tlb::fill(uint64_t address, uint16_t asid, const Page& page, bool memory) {
  Entry content;
  content.size = held_as(page.size);
  content.key = key(address, asid, content.size);
  content.generation = generations_->current(asid, page.global);
  const uint64_t held_bytes = uint64_t{1} << (12 + 9 * content.size);
  const uint64_t page_bytes = uint64_t{1} << (12 + 9 * page.size);
  content.frame = page.frame + (address & (page_bytes - 1) & ~(held_bytes - 1));
  content.asid = asid;
  content.global = page.global;
  content.memory = memory;
  Array& first_level = first(content.size);
  Array& second_level = second_[content.size];
  const uint64_t number = page_number(address, content.size);
  const bool flushed = first_level.find(content.key, number) != nullptr ||
                       second_level.find(content.key, number) != nullptr;
  if (!second_level.empty()) {
    place(second_level, content, address);
  }
  return {hints_[hint(address)] = place(first_level, content, address), flushed};
}

void Tlb::drop(uint64_t address, uint16_t asid) {
  for (const PageSize size : kSizes) {
    for (Array* array : {&first(size), &second_[size]}) {
      if (Entry* entry = array->find(key(address, asid, size), page_number(address, size))) {
        entry->generation = 0;
        entry->serial = ++serial_;
      }
    }
  }
}

void Tlb::clear() {
  std::fill(entries_.begin(), entries_.end(), Entry{});
}

}  // namespace xenoprof::pmu
