// SPDX-License-Identifier: GPL-2.0-or-later
// The host's clock as KVM tells it to a guest (ptp_kvm).
#pragma once

#include <cstdint>
#include <optional>

namespace xenoprof::perf {

// Both at the same moment.
struct HostLook {
  std::uint64_t host_realtime = 0;  // the host's CLOCK_REALTIME, nanoseconds
  std::uint64_t tsc = 0;            // this system's
  std::uint64_t tsc_within = 0;     // it is at most so many ticks off
};

// None where this system is no guest of KVM, has not loaded ptp_kvm, or may not open it; and on
// hosts whose own clock is not the TSC.
std::optional<HostLook> look_at_host_clock();

}  // namespace xenoprof::perf
