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
#include "report/session_file.h"

namespace xenoprof {

struct Recorded {
  Profile profile;
  std::optional<SessionRecord> session;  // of a session's folder
  // What was not understood or has no names, counted; a sentence each.
  std::vector<std::string> notes;
};

// A view that looks at leaves alone need not wait for what makes up most of a perf.data.
enum class Stacks { kWhole, kLeavesOnly };

// A session's folder, a pprof file, or a perf.data. `stacks` may be shorter than what is there,
// never longer; a profile that is made already keeps them all. `progress` is told now and then what
// part of a perf.data has been read.
using ReadProgress = std::function<void(double part)>;
Result<Recorded> read_source(const std::filesystem::path& source, Stacks stacks = Stacks::kWhole,
                             const ReadProgress& progress = {});

}  // namespace xenoprof
