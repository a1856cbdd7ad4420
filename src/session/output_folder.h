// SPDX-License-Identifier: GPL-2.0-or-later
// The folder that a session leaves, from the moment it is begun.
#pragma once

#include <filesystem>

#include "model/result.h"

namespace xenoprof {

// Makes the folder. An earlier session there, also one that was killed, steps aside; anything else
// is not ours to touch. To be called by who holds the driver: nobody else records.
Result<void> open_output(const std::filesystem::path& folder);

// The session has begun: the earlier one becomes DIR.old, in the place of the one that is there.
// Takes no time of the session's: what that one held is removed later.
void settle_output(const std::filesystem::path& folder);
void remove_outdated(const std::filesystem::path& folder);

// Gives the room back that was kept for profile and session.json: a disk that the perf.data filled
// up must not cost those.
void release_reserve(const std::filesystem::path& folder);

// After a session that did not come about: takes away what open_output() and it made, and puts the
// earlier one back.
void discard_output(const std::filesystem::path& folder);

}  // namespace xenoprof
