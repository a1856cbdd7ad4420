// SPDX-License-Identifier: GPL-2.0-or-later
// The one place where a view's source is opened, whatever it is.
#pragma once

#include <filesystem>
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

// A session's folder, a pprof file, or a perf.data.
Result<Recorded> read_source(const std::filesystem::path& source);

}  // namespace xenoprof
