// SPDX-License-Identifier: GPL-2.0-or-later
// Which of the host's domains a session profiles.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "hypervisor/xen_domains.h"
#include "model/result.h"
#include "session/initiator.h"

namespace xenoprof {

struct ChosenDomains {
  std::vector<Domain> active;  // dom0 first
  std::vector<Domain> passive;
  std::vector<std::string> notes;  // who is left out
};

// `running`: as list_xen_domains() has it.
Result<ChosenDomains> choose_domains(const SessionRequest& request,
                                     std::span<const Domain> running);

}  // namespace xenoprof
