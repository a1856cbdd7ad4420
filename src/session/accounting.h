// SPDX-License-Identifier: GPL-2.0-or-later
// What became of every sample that the hypervisor took: delivered, or lost and why.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/xenoprof_device.h"
#include "model/event.h"

namespace xenoprof {

// Causes of loss, as session.json and the report name them.
// The hypervisor's buffer was full: the domain did not fetch its samples in time.
inline constexpr char kLostInHypervisor[] = "hypervisor-buffer";
// The driver could not use the entry, or gave the buffer up as corrupt.
inline constexpr char kLostInDriver[] = "driver";
// The domain's perf ring was full: the agent did not fetch its samples in time.
inline constexpr char kLostInPerf[] = "perf-buffer";
// The agent ended before it had handed everything on.
inline constexpr char kLostWithAgent[] = "agent";

using Losses = std::map<std::string, std::uint64_t>;

struct EventAccount {
  Event event;
  std::uint64_t taken = 0;
  std::uint64_t delivered = 0;
  Losses lost;
  // The hypervisor counts what it drops by buffer, not by counter. With several counters those
  // losses (and with them `taken`) are divided in proportion; the domain's sums stay exact.
  bool estimated = false;
};

struct DomainAccount {
  std::vector<EventAccount> events;
  std::uint64_t taken = 0;
  std::uint64_t delivered = 0;
  Losses lost;
  // False when the last word of the hypervisor's counts is missing: `taken` is then what is known
  // to have been taken at least.
  bool complete = true;
};

// `delivered`: samples in the profile, by event. `final`: the totals were read after the end.
DomainAccount account(std::span<const Event> events, std::span<const VcpuTotals> totals,
                      std::span<const std::uint64_t> delivered, bool final);

}  // namespace xenoprof
