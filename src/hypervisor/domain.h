// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>

namespace xenoprof {

// An operating system under observation, as its host knows it.
struct Domain {
  std::uint16_t id = 0;  // Xen's; on KVM in the order in which machines were found. 0: the host
  std::string name;
  std::string type;  // "pv", "pvh", "hvm"; empty when the toolstack does not say
  unsigned vcpus = 0;
  bool has_agent = false;  // an agent has advertised itself; it may have died since
};

}  // namespace xenoprof
