// SPDX-License-Identifier: GPL-2.0-or-later
// The network between a lab under observation and its peer, a lab of its own, which knows nothing
// of what it is wired to.
#pragma once

#include <string>
#include <string_view>

#include "model/result.h"

namespace xenoprof::lab {

// In every domain's /etc/hosts as `peer` and `server`.
inline constexpr std::string_view kPeerAddress = "10.0.3.1";
inline constexpr std::string_view kServerAddress = "10.0.3.2";
// Instead of an address in a domain that only hands on what comes over the wire.
inline constexpr std::string_view kBridged = "bridge";

// A second network card of a machine, and its cable. The peer listens for the other end, and again
// when that is gone.
struct Wire {
  std::string socket;  // path, from the folder of the machine's lab
  bool listens = false;
  std::string mac;
};

// The peer's own end.
Wire wire_of_peer();
// The other end of a running peer's wire.
Result<Wire> wire_to_peer(const std::string& peer);

}  // namespace xenoprof::lab
