// SPDX-License-Identifier: GPL-2.0-or-later
// Profiles in other tools' formats. (That of pprof is our own: src/pprof.)
#pragma once

#include <cstddef>
#include <filesystem>
#include <ostream>
#include <string_view>

#include "model/profile.h"
#include "model/result.h"
#include "report/named_stacks.h"

namespace xenoprof {

// "domain;process;outermost;...;leaf SAMPLES" lines, as flame graph scripts read them, of
// events()[event].
void write_folded(const NamedStacks& stacks, std::size_t event, std::ostream& out);

// speedscope's file format (its file-format-spec.ts): a profile per event, of which `event` is
// shown first.
void write_speedscope(const NamedStacks& stacks, const std::vector<std::string>& events,
                      std::size_t event, std::string_view name, std::ostream& out);

// The Firefox Profiler's processed profile format, version 60 (its CHANGELOG-formats.md): a thread
// per process, with the samples of one event. A profile has no times: the samples stand a
// millisecond apart.
void write_firefox(const NamedStacks& stacks, std::string_view event_name, std::size_t event,
                   std::string_view name, std::ostream& out);

// A perf.data of all domains. perf knows one machine only, so
// - a process is named "domain/process"; from the second domain on, process numbers are raised by
//   4,194,304 (Linux's largest) a domain;
// - kernel addresses are lowered by 8 GiB for the first domain, 16 GiB for the second, and so on:
//   perf could not tell them from each other and from those of the machine where it runs;
// - kernels' and Xen's functions bear their names; those of programs perf looks up itself, in files
//   with the same build-id on the machine where it runs;
// - times are the samples' numbers: a profile has none.
Result<void> write_perf_data(const Profile& profile, const std::filesystem::path& path);

}  // namespace xenoprof
