// SPDX-License-Identifier: GPL-2.0-or-later
// The side of a session that runs it: in dom0, where Xenoprof takes its orders from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/event.h"
#include "model/result.h"
#include "report/progress.h"
#include "report/session_file.h"
#include "session/cancelled.h"
#include "symbols/kernel_symbols.h"

namespace xenoprof {

struct SessionRequest {
  std::vector<Event> events;         // this command's wishes; the participants add theirs
  std::vector<std::string> domains;  // "all": every domain; none: dom0 and all that have an agent
  std::vector<std::string> passive;
  // A passive domain's kallsyms or System.map, by its name.
  std::map<std::string, KernelList> kernel_symbols;
  bool call_chains = false;
  bool allow_missing = false;  // go on without a domain that does not take part
  // Ask the domains how their samples stand, for SessionProgress::profile.
  bool live = false;
  std::filesystem::path output;  // empty: nothing is kept
  std::string command;           // for the record only
};

// Asked several times a second while the session runs; false ends it in good order.
using KeepGoing = std::function<bool(const SessionProgress&)>;

struct SessionResult {
  SessionRecord record;
  bool whole = true;  // false: notes say what is missing
};

// Runs one session and leaves the output folder, if one is wanted: session.json, profile.pb.gz,
// NAME.perf.data of every domain. `started` is called when the counters run. What was gathered is
// kept as well where the result is not whole; an error means that there is none.
Result<SessionResult> run_session(const SessionRequest& request, const Cancelled& cancelled,
                                  const std::function<Result<void>()>& started,
                                  const KeepGoing& keep_going);

}  // namespace xenoprof
