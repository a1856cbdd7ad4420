// SPDX-License-Identifier: GPL-2.0-or-later
// The time stamp counters of a guest, by those of the host's clocks that its samples bear: as KVM
// tells, or else as the guest's agent says when it is asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/kvm_machines.h"
#include "model/result.h"
#include "perf/clock_relation.h"
#include "session/cancelled.h"
#include "session/peers.h"
#include "session/told_clock.h"

namespace xenoprof {

// The host's counter by CLOCK_MONOTONIC_RAW, its samples' clock. A time between two looks is exact,
// one beyond them is a guess.
class HostClock {
 public:
  perf::TscLook look();
  std::uint64_t last_look() const { return tsc_of_raw_.latest(); }
  std::uint64_t tsc_at(std::uint64_t raw) const { return tsc_of_raw_.other_at(raw); }
  double ticks_per_second() const;

 private:
  perf::ClockRelation tsc_of_raw_{1'000'000};  // ns
};

class GuestClock {
 public:
  // Once more: it changes when the guest is migrated, or writes its counter. Fails where KVM has to
  // tell and does not.
  Result<void> read(const KvmMachine& machine, const std::filesystem::path& root);
  // From now on the agent tells, because of that failure.
  void leave_to_agent(std::string why);
  bool by_agent() const { return told_.has_value(); }
  // Asks the agent. An answer that takes longer than `limit` is heard by the next call, and tells
  // less.
  void ask(Peers& peers, Peer& agent, HostClock& host, Clock::duration limit);
  // Asks before samples are taken, until the clock is known as well as it can be, which fails when
  // that is not well enough.
  Result<void> learn(Peers& peers, Peer& agent, HostClock& host, const Cancelled& cancelled);

  // Of a vCPU, by its place in the machine; null: not read yet.
  const TscRelation* of(std::size_t vcpu) const {
    return vcpu < vcpus_.size() ? &vcpus_[vcpu] : nullptr;
  }
  // What it means that the agent told.
  std::string note(const HostClock& host) const;

 private:
  void ask_often(Peers& peers, Peer& agent, HostClock& host, const Cancelled& cancelled);
  void hear(Peer& agent, HostClock& host);

  std::vector<TscRelation> vcpus_;
  std::optional<ToldClock> told_;
  std::string untold_;   // why KVM does not tell
  perf::TscLook asked_;  // when the agent was asked
};

}  // namespace xenoprof
