// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/time_order.h"

#include <algorithm>
#include <limits>

namespace xenoprof::perf {
namespace {

bool earlier(const TimeOrder::Entry& one, const TimeOrder::Entry& other) {
  return one.time < other.time;
}

}  // namespace

void TimeOrder::add(const Entry& entry) {
  if (entries_.empty() || entry.time < entries_.back().time) {
    runs_.push_back(entries_.size());
  }
  entries_.push_back(entry);
  latest_ = std::max(latest_, entry.time);
}

void TimeOrder::sort() {
  // Merges neighbours, so that equal times stay in order.
  while (runs_.size() > 1) {
    std::vector<std::size_t> merged;
    for (std::size_t i = 0; i < runs_.size(); i += 2) {
      const auto at = [&](std::size_t run) {
        return entries_.begin() +
               static_cast<std::ptrdiff_t>(run < runs_.size() ? runs_[run] : entries_.size());
      };
      std::inplace_merge(at(i), at(i + 1), at(i + 2), earlier);
      merged.push_back(runs_[i]);
    }
    runs_ = std::move(merged);
  }
}

void TimeOrder::release(std::uint64_t limit) {
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(position_));
  for (std::size_t& run : runs_) {
    run -= std::min(run, position_);
  }
  position_ = 0;
  if (entries_.empty()) {
    runs_.clear();
  }
  sort();
  const auto end =
      std::upper_bound(entries_.begin(), entries_.end(), Entry{.time = limit}, earlier);
  released_ = static_cast<std::size_t>(end - entries_.begin());
}

void TimeOrder::end_turn() {
  release(limit_);
  limit_ = latest_;
}

void TimeOrder::end() {
  release(std::numeric_limits<std::uint64_t>::max());
}

std::optional<TimeOrder::Entry> TimeOrder::next() {
  return position_ < released_ ? std::optional(entries_[position_++]) : std::nullopt;
}

std::uint64_t TimeOrder::oldest(std::uint64_t none) const {
  for (std::size_t i = position_; i < entries_.size(); ++i) {
    none = std::min(none, entries_[i].offset);
  }
  return none;
}

}  // namespace xenoprof::perf
