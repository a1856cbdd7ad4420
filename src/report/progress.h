// SPDX-License-Identifier: GPL-2.0-or-later
// A session as it stands while it runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/profile.h"

namespace xenoprof {

struct SessionProgress {
  struct Domain {
    std::string name;
    std::string role;         // initiator, active or passive
    std::uint64_t taken = 0;  // by the hypervisor, as far as known
    std::uint64_t lost = 0;   // of those, as far as known
    std::string problem;      // why it takes part no longer
  };
  double seconds = 0;
  std::vector<Domain> domains;
  // In a live session, the samples that the domains have accounted for so far, by process, mode and
  // function; another one each time that there is news. None before the first.
  std::shared_ptr<const Profile> profile;
};

}  // namespace xenoprof
