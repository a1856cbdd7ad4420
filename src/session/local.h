// SPDX-License-Identifier: GPL-2.0-or-later
// A session with this system's own perf events: bare Linux, a KVM host with its guests, or a guest
// that looks at itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "model/result.h"
#include "perf/counting.h"
#include "session/initiator.h"
#include "session/kvm_guests.h"

namespace xenoprof {

struct LocalRequest {
  std::vector<perf::CountedEvent> events;  // none: cycles, or cpu-clock without counters
  std::uint64_t frequency = 0;             // samples a second, for that
  // These processes and all that they begin; none: the whole system.
  std::vector<std::int32_t> processes;
  // The only process has yet to execute its program: samples begin then.
  bool from_exec = false;
  bool call_chains = false;
  std::uint32_t stack_bytes = 0;  // see perf::Layout
  GuestsRequest guests;           // of the whole system's session
  // SessionProgress::profile is wanted.
  bool live = false;
  std::filesystem::path output;  // empty: nothing is kept
  std::string command;           // for the record only
};

// The name of this system in such a session.
inline constexpr char kHost[] = "host";

// Runs one and leaves the same folder as run_session() does, if one is wanted. `started` is called
// when the events are in place. What was gathered is kept as well where the result is not whole.
Result<SessionResult> run_local_session(const LocalRequest& request, const Cancelled& cancelled,
                                        const std::function<Result<void>()>& started,
                                        const KeepGoing& keep_going);

}  // namespace xenoprof
