// SPDX-License-Identifier: GPL-2.0-or-later
// A profiled domain as the initiator sees it. Whatever it says is checked: it may be a hostile
// guest's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/xen_domains.h"
#include "hypervisor/xenoprof_device.h"
#include "model/profile.h"
#include "session/channel.h"
#include "session/domain_data.h"
#include "session/wire.pb.h"

namespace xenoprof {

// A finished profile is the largest; unpacked, pprof's own limits hold.
inline constexpr std::size_t kLargestFromParticipant = std::size_t{16} << 20;

struct Peer {
  XenDomain domain;
  std::unique_ptr<Connection> connection;  // none: gone, or passive
  std::string problem;                     // why it is gone
  wire::FromParticipant::Introduction introduction;
  std::vector<Event> wishes;
  bool introduced = false;
  bool prepared = false;
  bool armed = false;
  bool finished = false;
  std::uint64_t record_bytes = 0;
  std::vector<VcpuTotals> totals;  // the last that were told
  std::optional<Profile> profile;  // with names; only once finished
  std::vector<std::string> notes;
  std::optional<DomainData> data;

  void drop(std::string why) {
    connection.reset();
    problem = std::move(why);
  }
};

}  // namespace xenoprof
