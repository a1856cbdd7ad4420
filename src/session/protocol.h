// SPDX-License-Identifier: GPL-2.0-or-later
// The wire's messages and the model's values.
#pragma once

#include <cstdint>
#include <vector>

#include "hypervisor/xenoprof_device.h"
#include "model/event.h"
#include "model/result.h"
#include "session/wire.pb.h"

namespace xenoprof {

inline constexpr std::uint32_t kProtocolVersion = 6;

// Of any kind, in one number: what no CPU takes in years. Sums of such numbers are far from an
// overflow.
inline constexpr std::uint64_t kMostSamples = std::uint64_t{1} << 50;

using WireEvents = google::protobuf::RepeatedPtrField<wire::Event>;

std::vector<Event> events_from_wire(const WireEvents& events);
void to_wire(const std::vector<Event>& events, WireEvents& out);

// What an agent counts that samples its guest itself while the host does so, too: the guest's own
// events first, as NAME@guest, then the host's.
std::vector<Event> with_guests_own(const std::vector<Event>& events);

// Fails when they are of more vCPUs or samples than any domain has.
Result<std::vector<VcpuTotals>> totals_from_wire(const wire::FromParticipant::Totals& totals);
void to_wire(const std::vector<VcpuTotals>& totals, wire::FromParticipant::Totals& out);

}  // namespace xenoprof
