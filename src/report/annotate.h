// SPDX-License-Identifier: GPL-2.0-or-later
// One function from inside: which of its lines and instructions hold the samples.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/filter.h"
#include "report/report.h"

namespace xenoprof {

struct AnnotateOptions {
  // As the profile has it, or its end behind "::" where that is no function itself.
  std::string symbol;
  std::string image;  // the function of this image; empty: of that with the most samples
  std::vector<FilterTerm> filter;
  // The file of the kernel, or of Xen, if that is what the function is in; empty: looked for.
  std::filesystem::path vmlinux;
  Format format = Format::kText;  // or kJson
  TextStyle style;
};

// Code and source are this machine's, and shown only where they are certain to be those that ran.
Result<std::string> annotate(const Profile& profile, const AnnotateOptions& options);

}  // namespace xenoprof
