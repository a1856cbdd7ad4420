// SPDX-License-Identifier: GPL-2.0-or-later
// What all participants want counted becomes what the hypervisor is told.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/xenoprof_device.h"
#include "model/event.h"
#include "model/result.h"

namespace xenoprof {

// Samples are taken on every CPU, in whatever runs there: a guest must not be able to drown the
// host in them.
inline constexpr std::uint64_t kLeastWished = 100'000;

struct Wishes {
  std::string who;
  std::vector<Event> events;
};

// events[i] is what counter i counts.
struct Agreement {
  std::vector<Event> events;
  std::vector<CounterSetting> counters;
};

// The union of the wishes, each event once. It is an error, which says who wants what, when it does
// not fit the counters or one event is wanted with different counts.
Result<Agreement> agree(std::span<const Wishes> all, std::uint32_t num_counters);

}  // namespace xenoprof
