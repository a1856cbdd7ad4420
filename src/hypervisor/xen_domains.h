// SPDX-License-Identifier: GPL-2.0-or-later
// The domains of this Xen host, as xenstore and the xl toolstack tell them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/domain.h"
#include "model/result.h"

struct xs_handle;

namespace xenoprof {

// Where an agent advertises its vchan, below the domain's own /local/domain/ID. The "data" folder
// is the one the xl toolstack lets a guest write (libxl_create.c, 4.17).
inline constexpr char kAgentPath[] = "data/xenoprof";

// Whether this system runs on Xen.
bool on_xen();

// All running domains, dom0 (which is called that) first. Only for dom0.
Result<std::vector<Domain>> list_xen_domains();

// Whether this domain advertises a vchan; true where that cannot be asked.
bool offers_agent();

// Tells that a domain has ended, without asking xenstore again and again.
class DomainWatch {
 public:
  // Without xenstore the watch never tells anything.
  static DomainWatch open();
  // True once for each time that some domain ended since the last call.
  bool domain_ended();

 private:
  struct Close {
    void operator()(xs_handle* store) const;
  };
  std::unique_ptr<xs_handle, Close> store_;
};

}  // namespace xenoprof
