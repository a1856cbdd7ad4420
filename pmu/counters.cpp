// SPDX-License-Identifier: GPL-2.0-or-later
#include "counters.h"

#include <algorithm>

namespace xenoprof::pmu {

std::optional<Source> event_source(unsigned code) {
  switch (code) {
    case 0x76:  // CPU_CLK_UNHALTED: the model's processor retires one instruction a cycle
    case 0xc0:  // RETIRED_INSTRUCTIONS
      return kInstructions;
    case 0xc2:  // RETIRED_BRANCH_INSTRUCTIONS
      return kBranches;
    default:
      return std::nullopt;
  }
}

bool Counters::running(const Counter& counter) {
  return (counter.select & kSelectEnable) != 0 &&
         (counter.select & (kSelectUser | kSelectKernel)) != 0 &&
         event_source(event_code(counter.select)).has_value();
}

uint64_t Counters::count(const Counter& counter, const Totals& now) {
  const auto& rings = now[*event_source(event_code(counter.select))];
  uint64_t sum = 0;
  if (counter.select & kSelectUser) {
    sum += rings[kUser];
  }
  if (counter.select & kSelectKernel) {
    sum += rings[kKernel];
  }
  return sum;
}

uint64_t Counters::value(const Counter& counter, const Totals& now) {
  if (!running(counter)) {
    return counter.value;
  }
  // Modular: right also for a read from before a wrap that has already been taken.
  return (count(counter, now) - counter.wrap_at) % kCounterRange;
}

void Counters::set(Counter& counter, uint64_t value, const Totals& now) {
  counter.value = value % kCounterRange;
  if (running(counter)) {
    counter.wrap_at = count(counter, now) + (kCounterRange - counter.value);
  }
}

void Counters::write_select(unsigned index, uint64_t select, const Totals& now) {
  Counter& counter = counters_[index];
  const uint64_t kept = value(counter, now);
  counter.select = select;
  set(counter, kept, now);
}

void Counters::write(unsigned index, uint64_t value, const Totals& now) {
  set(counters_[index], value, now);
}

uint64_t Counters::read(unsigned index, const Totals& now) const {
  return value(counters_[index], now);
}

bool Counters::take_overflow(const Totals& now) {
  bool overflow = false;
  for (Counter& counter : counters_) {
    if (!running(counter) || !(counter.select & kSelectInterrupt)) {
      continue;
    }
    if (static_cast<int64_t>(count(counter, now) - counter.wrap_at) >= 0) {
      counter.wrap_at += kCounterRange;
      overflow = true;
    }
  }
  return overflow;
}

Totals Counters::slack(const Totals& now) const {
  Totals slack;
  for (auto& rings : slack) {
    rings.fill(kForever);
  }
  for (const Counter& counter : counters_) {
    if (!running(counter) || !(counter.select & kSelectInterrupt)) {
      continue;
    }
    const uint64_t left = counter.wrap_at - count(counter, now);
    const bool user = counter.select & kSelectUser;
    const bool kernel = counter.select & kSelectKernel;
    // A counter of both rings shares what is left between them: each look halves it at least, so
    // there are at most log2(left) looks before the wrap.
    const uint64_t share = user && kernel ? left / 2 + left % 2 : left;
    auto& rings = slack[*event_source(event_code(counter.select))];
    if (user) {
      rings[kUser] = std::min(rings[kUser], share);
    }
    if (kernel) {
      rings[kKernel] = std::min(rings[kKernel], share);
    }
  }
  return slack;
}

SourceSet Counters::sources() const {
  SourceSet set = 0;
  for (const Counter& counter : counters_) {
    if (running(counter)) {
      set |= 1u << *event_source(event_code(counter.select));
    }
  }
  return set;
}

bool Counters::any_enabled() const {
  return sources() != 0;
}

}  // namespace xenoprof::pmu
