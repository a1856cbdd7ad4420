// SPDX-License-Identifier: GPL-2.0-or-later
// Channels between Xen domains. The hypervisor's grants name the peer, so nobody can pose as
// another domain.
#pragma once

#include <cstdint>
#include <memory>

#include "session/cancelled.h"
#include "session/channel.h"

namespace xenoprof {

// In a guest: offers a channel to dom0 and waits until it is dialled.
Result<std::unique_ptr<Channel>> listen_vchan(const Cancelled& cancelled);

// In dom0: dials the agent of a domain.
Result<std::unique_ptr<Channel>> dial_vchan(std::uint16_t domain);

}  // namespace xenoprof
