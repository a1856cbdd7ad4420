// SPDX-License-Identifier: GPL-2.0-or-later
// The one place where a view's source is opened, whatever it is.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/column.h"
#include "report/filter.h"
#include "report/session_file.h"

namespace xenoprof {

struct Recorded {
  Profile profile;
  std::optional<SessionRecord> session;  // of a session's folder
  // What was not understood or has no names, counted; a sentence each.
  std::vector<std::string> notes;
};

// What a view looks at of a perf.data: it need not wait for the rest.
struct Parts {
  bool stacks = true;           // else their leaves alone
  bool threads = true;          // numbers of processes, threads and CPUs
  bool lines = true;            // of the source, with the functions that were inlined there
  bool inlined_frames = false;  // those functions are frames of their own; takes the lines
};

// Those that a view looks at which filters so and shows these columns.
Parts parts_of(bool stacks, const std::vector<FilterTerm>& filter,
               const std::vector<Column>& columns = {});

// A session's folder, a pprof file, or a perf.data; a profile that is made already keeps all its
// parts. `progress` is told now and then how much of the file has been read.
using ReadProgress = std::function<void(double share)>;
Result<Recorded> read_source(const std::filesystem::path& source, Parts parts = {},
                             const ReadProgress& progress = {});

}  // namespace xenoprof
