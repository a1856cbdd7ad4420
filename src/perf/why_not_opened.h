// SPDX-License-Identifier: GPL-2.0-or-later
// Why the kernel refuses a perf event, as far as its error number tells.
#pragma once

#include <filesystem>
#include <string>

struct perf_event_attr;

namespace xenoprof::perf {

// "; what is the matter and what helps", to follow the error's name; empty where nothing is known.
// `of_process`: of one, not of a CPU. `root`: where proc and sys are.
std::string why_not_opened(int error, const perf_event_attr& attr, bool of_process,
                           const std::filesystem::path& root = "/");

}  // namespace xenoprof::perf
