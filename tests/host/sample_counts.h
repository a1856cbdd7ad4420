// SPDX-License-Identifier: GPL-2.0-or-later
// What perf and xenoprof say of the same recording, so that it can be compared.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace xenoprof {

// By "process | image | function".
using SampleCounts = std::map<std::string, std::uint64_t>;

// Of what these print; a test failure where they print something else. The second report reads
// call chains, too.
inline constexpr char kPerfScript[] = "perf script -G -F comm,ip,sym,dso";
inline constexpr const char* kReports[] = {
    "report --sort process,image,symbol --format json",
    "report --sort process,image,symbol --format json --children"};
SampleCounts counts_of_perf_script(const std::string& text);
SampleCounts counts_of_report(const std::string& json);

std::uint64_t sum(const SampleCounts& counts);

// Both are the same, and one of their lines holds `shows`, so that the recording is of what it is
// meant to be.
void expect_same(const SampleCounts& theirs, const SampleCounts& ours, std::string_view shows);

}  // namespace xenoprof
