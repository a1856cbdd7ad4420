// SPDX-License-Identifier: GPL-2.0-or-later
// From an event's name to what is written into the CPU's event select register.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/event.h"
#include "model/result.h"

namespace xenoprof {

struct EventCode {
  std::uint32_t event_select = 0;
  std::uint32_t unit_mask = 0;

  friend bool operator==(const EventCode&, const EventCode&) = default;
};

struct EventDescription {
  std::string name;
  std::string meaning;
  std::string alias_of;  // libpfm4's name when `name` is xenoprof's or perf's, else empty
};

// "NAME:COUNT"; NAME may itself contain colons (libpfm4's unit masks). Refuses counts that would
// drown the machine in interrupts or that the hypervisor cannot hold.
Result<Event> parse_event(std::string_view text);

// The second half of that, for events that come from elsewhere.
Result<void> check_count(const Event& event);

// Looks a name up: an alias (instructions, cycles, ...), a libpfm4 name of this machine's CPU, or
// rHEX, event and unit mask as they are in the select register. An unknown name's error offers the
// nearest ones.
Result<EventCode> encode_event(const std::string& name);

// The aliases first, then every libpfm4 event of this machine's CPU.
Result<std::vector<EventDescription>> list_events();

}  // namespace xenoprof
