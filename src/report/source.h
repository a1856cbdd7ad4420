// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <filesystem>
#include <optional>

#include "model/profile.h"
#include "model/result.h"
#include "report/session_file.h"

namespace xenoprof {

inline constexpr char kDefaultSource[] = "xenoprof.session";

// A session's folder, or a pprof file alone.
struct Recorded {
  Profile profile;
  std::optional<SessionRecord> session;
};

Result<Recorded> read_source(const std::filesystem::path& source);

}  // namespace xenoprof
