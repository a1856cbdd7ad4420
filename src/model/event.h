// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>

namespace xenoprof {

// What is counted; one sample is taken each `count` events.
struct Event {
  std::string name;
  std::uint64_t count = 0;

  friend bool operator==(const Event&, const Event&) = default;
};

}  // namespace xenoprof
