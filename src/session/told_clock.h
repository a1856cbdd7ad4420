// SPDX-License-Identifier: GPL-2.0-or-later
// A guest's time stamp counter by what its agent says when asked, where KVM does not tell.
#pragma once

#include <cstdint>

#include "hypervisor/kvm_machines.h"
#include "perf/clock_relation.h"

namespace xenoprof {

struct ClockAnswer {
  std::uint64_t tsc = 0;
  // What KVM told the guest of the host's CLOCK_REALTIME at the moment of `tsc`, which is at most
  // `within` ticks off; 0: nothing.
  std::uint64_t host_realtime = 0;
  std::uint64_t within = 0;
};

// CLOCK_REALTIME of some moment between two of CLOCK_MONOTONIC_RAW, nanoseconds.
struct RealLook {
  std::uint64_t earliest = 0;
  std::uint64_t real = 0;
  std::uint64_t latest = 0;
};
RealLook look_at_real_clock();

// The guest's counter is taken to run as fast as the host's: then each answer bounds what lies
// between them, and all bounds hold at once.
class ToldClock {
 public:
  // `now`: a look of the host's after it had heard. Whatever the answer, it bounds no more closely
  // than the truth allows if the guest is honest, and only that guest's own clock if it is not.
  void add(const perf::TscLook& asked, const perf::TscLook& heard, const ClockAnswer& answer,
           const RealLook& now);
  // The guest's was `guest` at some time between these of the host's.
  void add(std::uint64_t before, std::uint64_t after, std::uint64_t guest);

  bool known() const { return known_; }
  TscRelation relation() const;
  // At most so many ticks off.
  std::uint64_t error() const;
  // How often an answer contradicted those before, which are forgotten then: the guest was
  // migrated, wrote its counter, or the two run at different rates.
  unsigned changes() const { return changes_; }

 private:
  bool known_ = false;
  // guest - host, wrapping as the counters do.
  std::int64_t least_ = 0;
  std::int64_t most_ = 0;
  unsigned changes_ = 0;
};

}  // namespace xenoprof
