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

inline constexpr std::uint32_t kProtocolVersion = 3;

using WireEvents = google::protobuf::RepeatedPtrField<wire::Event>;

std::vector<Event> events_from_wire(const WireEvents& events);
void to_wire(const std::vector<Event>& events, WireEvents& out);

// Fails when they are more than any domain has.
Result<std::vector<VcpuTotals>> totals_from_wire(const wire::FromParticipant::Totals& totals);
void to_wire(const std::vector<VcpuTotals>& totals, wire::FromParticipant::Totals& out);

}  // namespace xenoprof
