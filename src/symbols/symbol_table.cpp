// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/symbol_table.h"

#include <algorithm>
#include <limits>

namespace xenoprof {
namespace {

constexpr std::uint64_t kPage = 4096;

// The end of the page after the one that `address` is in.
std::uint64_t end_of_next_page(std::uint64_t address) {
  const std::uint64_t end = (address / kPage + 2) * kPage;
  return end > address ? end : std::numeric_limits<std::uint64_t>::max();
}

std::size_t leading_underscores(std::string_view name) {
  return std::min(name.find_first_not_of('_'), name.size());
}

}  // namespace

void SymbolTable::add(std::uint64_t start, std::uint64_t length, Binding binding,
                      std::string_view name, ImagePart part) {
  if (name.empty() || names_.size() + name.size() > most_names_ || start >= part.end) {
    return;
  }
  const std::uint64_t end = length > part.end - start ? part.end : start + length;
  entries_.push_back({start, end, static_cast<std::uint32_t>(names_.size()),
                      static_cast<std::uint32_t>(name.size()), binding, part});
  names_ += name;
}

void SymbolTable::finish() {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& one, const Entry& other) { return one.start < other.start; });
  set_ends();
  drop_duplicates();
  entries_.shrink_to_fit();
}

void SymbolTable::set_ends() {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.end != entry.start) {
      continue;
    }
    const bool last = i + 1 == entries_.size() || entries_[i + 1].part.id != entry.part.id;
    entry.end = last ? end_of_next_page(entry.start) : entries_[i + 1].start;
    if (i + 1 < entries_.size()) {
      entry.end = std::min(entry.end, entries_[i + 1].start);
    }
    entry.end = std::min(entry.end, entry.part.end);
  }
}

bool SymbolTable::better(const Entry& one, const Entry& other) const {
  const bool one_empty = one.end == one.start;
  const bool other_empty = other.end == other.start;
  if (one_empty != other_empty) {
    return other_empty;
  }
  if (one.binding != other.binding) {
    return one.binding > other.binding;
  }
  const std::size_t one_underscores = leading_underscores(name_of(one));
  const std::size_t other_underscores = leading_underscores(name_of(other));
  if (one_underscores != other_underscores) {
    return one_underscores < other_underscores;
  }
  return one.name_length >= other.name_length;
}

void SymbolTable::drop_duplicates() {
  std::size_t kept = 0;
  for (const Entry& entry : entries_) {
    if (kept != 0 && entries_[kept - 1].start == entry.start) {
      if (!better(entries_[kept - 1], entry)) {
        entries_[kept - 1] = entry;
      }
    } else {
      entries_[kept++] = entry;
    }
  }
  entries_.resize(kept);
}

std::vector<std::uint64_t> SymbolTable::starts() const {
  std::vector<std::uint64_t> starts;
  for (const Entry& entry : entries_) {
    starts.push_back(entry.start);
  }
  return starts;
}

std::optional<Symbol> SymbolTable::find(std::uint64_t address) const {
  // Functions may lie within another: an inner one that has ended leaves the address to the outer.
  constexpr int kMaxNesting = 8;
  auto after =
      std::upper_bound(entries_.begin(), entries_.end(), address,
                       [](std::uint64_t value, const Entry& entry) { return value < entry.start; });
  for (int step = 0; step < kMaxNesting && after != entries_.begin(); ++step) {
    --after;
    if (address < after->end) {
      return Symbol{after->start, after->end, name_of(*after)};
    }
  }
  return std::nullopt;
}

}  // namespace xenoprof
