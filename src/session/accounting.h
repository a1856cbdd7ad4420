// SPDX-License-Identifier: GPL-2.0-or-later
// What became of every sample that the hypervisor took: delivered, or lost and why.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hypervisor/xenoprof_device.h"
#include "model/event.h"
#include "model/profile.h"
#include "report/session_file.h"

namespace xenoprof {

// Causes of loss, as session.json and the report name them.
// The hypervisor's buffer was full: the domain did not fetch its samples in time.
inline constexpr char kLostInHypervisor[] = "hypervisor-buffer";
// The driver could not use the entry, or gave the buffer up as corrupt.
inline constexpr char kLostInDriver[] = "driver";
// The domain's perf ring was full: the agent did not fetch its samples in time.
inline constexpr char kLostInPerf[] = "perf-buffer";
// It reached dom0 and could not be written there, or not be read again.
inline constexpr char kLostOnDisk[] = "disk";
// The agent ended before it had handed everything on.
inline constexpr char kLostWithAgent[] = "agent";

// Samples of each event: that reached dom0, and that are in the profile.
struct Received {
  std::vector<std::uint64_t> arrived;
  std::vector<std::uint64_t> delivered;
};

// `final`: the totals were read after the end. Who the domain is remains to be filled in.
DomainTotals account(std::span<const Event> events, std::span<const VcpuTotals> totals,
                     const Received& received, bool final);

// The profile has no more samples of any event than that.
bool is_within(const Profile& profile, std::span<const std::uint64_t> samples);

// What the host took of a guest and its agent has not told of yet, by mode: shares in a live
// session are wrong without it, for the host's own samples are there at once. `told`: what it told
// so far, whose last events are those of `taken`; null: nothing.
Profile untold(const Profile& taken, const Profile* told);

}  // namespace xenoprof
