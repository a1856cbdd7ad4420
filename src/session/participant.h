// SPDX-License-Identifier: GPL-2.0-or-later
// The side of a session that each profiled domain runs: dom0 inside `xenoprof record`, a guest in
// `xenoprof agent`. Xen hands each domain its own samples; a guest of KVM is sent them by its host.
#pragma once

#include <vector>

#include "hypervisor/xenoprof_device.h"
#include "model/event.h"
#include "model/result.h"
#include "session/cancelled.h"
#include "session/channel.h"

namespace xenoprof {

// The most that an initiator sends in one message.
inline constexpr std::size_t kLargestToParticipant = 64 * 1024;

// Takes part in one session of the initiator at the other end; returns when that has hung up. An
// error means that this domain's part is not whole; the initiator has been told if it was there to
// be told. `device`: the driver, in a domain of Xen; else null.
Result<void> participate(
    Connection& initiator, XenoprofDevice* device, const std::vector<Event>& wishes,
    const Cancelled& cancelled = [] { return false; });

// Tells the initiator why this domain cannot take part, and returns that as the error.
Result<void> refuse(Connection& initiator, const Error& why);

}  // namespace xenoprof
