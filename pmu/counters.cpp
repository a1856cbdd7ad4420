// SPDX-License-Identifier: GPL-2.0-or-later
#include "counters.h"

#include <algorithm>
#include <bit>

namespace xenoprof::pmu {

namespace {

// The unit mask's bits from 0 on each select one of `count` sources from `first` on.
SourceSet units(uint64_t select, Source first, unsigned count) {
  const auto mask = static_cast<SourceSet>(select >> 8 & 0xff);
  return (mask & ((1u << count) - 1)) << first;
}

uint8_t selected_modes(uint64_t select) {
  const bool guest_only = select & kSelectGuestOnly;
  const bool host_only = select & kSelectHostOnly;
  const bool host = host_only || !guest_only;
  const bool guest = guest_only || !host_only;
  const auto mode = [](bool selected, Mode which) { return selected ? 1u << which : 0u; };
  const bool user = select & kSelectUser;
  const bool kernel = select & kSelectKernel;
  return static_cast<uint8_t>(mode(user && host, kUser) | mode(kernel && host, kKernel) |
                              mode(user && guest, kGuestUser) |
                              mode(kernel && guest, kGuestKernel));
}

// Calls `take(source, mode)` for each addend of a counter.
template <class Take>
void for_each_addend(SourceSet sources, unsigned modes, Take take) {
  for (; sources != 0; sources &= sources - 1) {
    for (unsigned left = modes; left != 0; left &= left - 1) {
      take(static_cast<size_t>(std::countr_zero(sources)),
           static_cast<size_t>(std::countr_zero(left)));
    }
  }
}

}  // namespace

SourceSet event_sources(uint64_t select) {
  switch (event_code(select)) {
    case 0x40:
      return bits(kDataAccesses);
    case 0x41:
      return bits(kDataMisses);
    case 0x45:
      return units(select, kDtlbSecondHits, 3);
    case 0x46:
      return units(select, kDtlbWalks, 3);
    case 0x76:
      return bits(kInstructions) | bits(kWaitCycles);
    case 0x7d:
      return units(select, kL2RequestsCode, 3);
    case 0x7e:
      return units(select, kL2MissesCode, 3);
    case 0x80:
      return bits(kFetches);
    case 0x81:
      return bits(kFetchMisses);
    case 0x84:
      return bits(kItlbSecondHits);
    case 0x85:
      return units(select, kItlbWalks, 3);
    case 0xc0:
      return bits(kInstructions);
    case 0xc2:
      return bits(kBranches);
    case 0xc3:
      return bits(kMispredicts);
    case 0xcf:
      return bits(kInterrupts);
    default:
      return 0;
  }
}

uint64_t Counters::count(const Counter& counter, const Totals& now) {
  uint64_t sum = 0;
  for_each_addend(counter.sources, counter.modes,
                  [&](size_t source, size_t mode) { sum += now[source][mode]; });
  return sum;
}

uint64_t Counters::value(const Counter& counter, const Totals& now) {
  if (counter.sources == 0) {
    return counter.value;
  }
  // Modular: right also for a read from before a wrap that has already been taken.
  return (count(counter, now) - counter.wrap_at) % kCounterRange;
}

void Counters::set(Counter& counter, uint64_t value, const Totals& now) {
  counter.value = value % kCounterRange;
  if (counter.sources != 0) {
    counter.wrap_at = count(counter, now) + (kCounterRange - counter.value);
  }
}

void Counters::write_select(unsigned index, uint64_t select, const Totals& now) {
  Counter& counter = counters_[index];
  const uint64_t kept = value(counter, now);
  const bool enabled = select & kSelectEnable;
  counter.select = select;
  counter.modes = selected_modes(select);
  counter.sources = enabled && counter.modes != 0 ? event_sources(select) : 0;
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
    if (counter.sources == 0 || !(counter.select & kSelectInterrupt)) {
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
  for (auto& modes : slack) {
    modes.fill(kForever);
  }
  for (const Counter& counter : counters_) {
    if (counter.sources == 0 || !(counter.select & kSelectInterrupt)) {
      continue;
    }
    // The addends share what is left between them. Each look takes its part of it away, so there
    // are few of them before the wrap.
    const uint64_t left = counter.wrap_at - count(counter, now);
    const auto addends = static_cast<uint64_t>(std::popcount(counter.sources)) *
                         static_cast<uint64_t>(std::popcount(counter.modes));
    const uint64_t share = left / addends + (left % addends != 0);
    for_each_addend(counter.sources, counter.modes, [&](size_t source, size_t mode) {
      slack[source][mode] = std::min(slack[source][mode], share);
    });
  }
  return slack;
}

SourceSet Counters::sources() const {
  SourceSet set = 0;
  for (const Counter& counter : counters_) {
    set |= counter.sources;
  }
  return set;
}

bool Counters::any_enabled() const {
  return sources() != 0;
}

}  // namespace xenoprof::pmu
