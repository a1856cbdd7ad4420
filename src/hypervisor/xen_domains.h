// SPDX-License-Identifier: GPL-2.0-or-later
// The domains of this Xen host, as xenstore and the xl toolstack tell them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof {

// Where an agent advertises its vchan, below the domain's own /local/domain/ID. The "data" folder
// is the one the xl toolstack lets a guest write (libxl_create.c, 4.17).
inline constexpr char kAgentPath[] = "data/xenoprof";

struct XenDomain {
  std::uint16_t id = 0;
  std::string name;
  std::string type;  // "pv", "pvh", "hvm"; empty when the toolstack does not say
  unsigned vcpus = 0;
  bool has_agent = false;  // an agent has advertised itself; it may have died since
};

// All running domains, dom0 (which is called that) first. Only for dom0.
Result<std::vector<XenDomain>> list_xen_domains();

}  // namespace xenoprof
