// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/wishes.h"

#include <algorithm>

#include "hypervisor/event_codes.h"

namespace xenoprof {
namespace {

struct Counted {
  Event event;
  EventCode code;
  std::string who;
};

}  // namespace

Result<Agreement> agree(std::span<const Wishes> all, std::uint32_t num_counters) {
  std::vector<Counted> counted;
  for (const Wishes& wishes : all) {
    for (const Event& event : wishes.events) {
      const auto code = encode_event(event.name);
      if (!code) {
        return fail("{} wants {}: {}", wishes.who, event.name, code.error().message);
      }
      // By code: one event can have two names.
      const auto same = std::ranges::find(counted, *code, &Counted::code);
      if (same == counted.end()) {
        counted.push_back({event, *code, wishes.who});
      } else if (same->event.count != event.count) {
        return fail("{} wants {} every {}, {} every {}: one counter serves all, agree on one count",
                    same->who, event.name, same->event.count, wishes.who, event.count);
      } else {
        same->who += ", " + wishes.who;
      }
    }
  }
  if (counted.empty()) {
    return fail("nobody wants an event: name one with -e, as in -e instructions:1000000");
  }
  if (counted.size() > num_counters) {
    std::vector<std::string> list;
    for (const Counted& one : counted) {
      list.push_back(fmt::format("{} ({})", one.event.name, one.who));
    }
    return fail("{} events are wanted and this CPU has {} counters: {}", counted.size(),
                num_counters, fmt::join(list, ", "));
  }
  Agreement agreement;
  for (const Counted& one : counted) {
    agreement.events.push_back(one.event);
    agreement.counters.push_back({.event_select = one.code.event_select,
                                  .unit_mask = one.code.unit_mask,
                                  .count = one.event.count});
  }
  return agreement;
}

}  // namespace xenoprof
