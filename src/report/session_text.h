// SPDX-License-Identifier: GPL-2.0-or-later
// What a session's record says, in sentences of printable() text.
#pragma once

#include <string>

#include "report/session_file.h"

namespace xenoprof {

// "2026-01-31 12:00:00"; empty when unknown.
std::string started_text(const SessionRecord& session);

// "Recorded 2026-01-31 12:00:00 for 10.0 s".
std::string recorded_text(const SessionRecord& session);

// How many samples were lost, where and why. `session` may be null: then that is not known here; a
// perf.data tells it in Recorded::notes.
std::string losses_text(const SessionRecord* session);

// Nothing was lost, and that is known.
bool is_whole(const SessionRecord* session);

}  // namespace xenoprof
