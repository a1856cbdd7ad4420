// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace xenoprof {

// "0.1 (commit 0123456789ab)"; without the commit where the sources were no git checkout, and with
// ", modified" where they were not what the commit holds.
extern const char* const kVersion;

}  // namespace xenoprof
