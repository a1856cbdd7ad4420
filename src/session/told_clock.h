// SPDX-License-Identifier: GPL-2.0-or-later
// A guest's time stamp counter by what its agent says when asked, where KVM does not tell.
#pragma once

#include <cstdint>

#include "hypervisor/kvm_machines.h"

namespace xenoprof {

// The guest's counter is taken to run as fast as the host's: then each answer bounds what lies
// between them, and all bounds hold at once.
class ToldClock {
 public:
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
