// SPDX-License-Identifier: GPL-2.0-or-later
#include "wire.h"

#include "state.h"

namespace xenoprof::lab {
namespace {

// In the peer's folder.
constexpr std::string_view kSocket = "wire";

}  // namespace

Wire wire_of_peer() {
  return {std::string(kSocket), true, "52:54:00:00:03:01"};
}

Result<Wire> wire_to_peer(const std::string& peer) {
  const auto lab = running_lab(peer);
  if (!lab)
    return std::unexpected(lab.error());
  if (lab->kind() != "peer")
    return fail("lab '{}' is no peer; start one with `xenoprof lab up peer --name NAME`", peer);
  // Relative, as a socket's path has at most 107 bytes.
  return Wire{fmt::format("../{}/{}", peer, kSocket), false, "52:54:00:00:03:02"};
}

}  // namespace xenoprof::lab
