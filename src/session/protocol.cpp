// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/protocol.h"

#include <algorithm>
#include <array>

#include "driver/xenoprof.h"

namespace xenoprof {

std::vector<Event> events_from_wire(const WireEvents& events) {
  std::vector<Event> result;
  for (const wire::Event& event : events) {
    result.push_back({.name = event.name(), .count = event.count()});
  }
  return result;
}

void to_wire(const std::vector<Event>& events, WireEvents& out) {
  for (const Event& event : events) {
    wire::Event& one = *out.Add();
    one.set_name(event.name);
    one.set_count(event.count);
  }
}

std::vector<Event> with_guests_own(const std::vector<Event>& events) {
  std::vector<Event> both = events;
  for (Event& event : both) {
    event.name += "@guest";
  }
  both.insert(both.end(), events.begin(), events.end());
  return both;
}

Result<std::vector<VcpuTotals>> totals_from_wire(const wire::FromParticipant::Totals& totals) {
  if (totals.vcpus_size() > XENOPROF_MAX_VCPUS) {
    return fail("its agent tells of {} vCPUs, more than any domain has", totals.vcpus_size());
  }
  std::vector<VcpuTotals> result;
  for (const wire::VcpuTotals& vcpu : totals.vcpus()) {
    VcpuTotals& one = result.emplace_back();
    one = {.vcpu = vcpu.vcpu(),
           .hypervisor = vcpu.hypervisor(),
           .kernel = vcpu.kernel(),
           .user = vcpu.user(),
           .lost = vcpu.lost(),
           .rejected = vcpu.rejected(),
           .broken = vcpu.broken()};
    for (int i = 0; i < vcpu.emitted_size() && i < static_cast<int>(kMaxCounters); ++i) {
      one.emitted[static_cast<std::size_t>(i)] = vcpu.emitted(i);
    }
    const auto too_many = [](std::uint64_t samples) { return samples > kMostSamples; };
    if (std::ranges::any_of(one.emitted, too_many) ||
        std::ranges::any_of(
            std::array{one.hypervisor, one.kernel, one.user, one.lost, one.rejected}, too_many)) {
      return fail("its agent tells of more samples than can be");
    }
  }
  return result;
}

void to_wire(const std::vector<VcpuTotals>& totals, wire::FromParticipant::Totals& out) {
  for (const VcpuTotals& vcpu : totals) {
    wire::VcpuTotals& one = *out.add_vcpus();
    one.set_vcpu(vcpu.vcpu);
    one.set_hypervisor(vcpu.hypervisor);
    one.set_kernel(vcpu.kernel);
    one.set_user(vcpu.user);
    one.set_lost(vcpu.lost);
    one.set_rejected(vcpu.rejected);
    one.set_broken(vcpu.broken);
    for (std::uint64_t samples : vcpu.emitted) {
      one.add_emitted(samples);
    }
  }
}

}  // namespace xenoprof
